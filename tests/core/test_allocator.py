import subprocess
import sys

import pytest

CODE = """
import resource, torch
{call}
def faults():
    for _ in range(12):
        torch.ones(2**23)  # 32 MiB, more than what glibc learns to keep
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_memory_that_a_step_has_freed_is_there_for_the_next_one() -> None:
    usual, kept = (
        int(subprocess.run([sys.executable, "-c", CODE.format(call=call)], capture_output=True, text=True, check=True).stdout)
        for call in ("", "from torchsid.core.allocator import keep_freed_memory; keep_freed_memory()")
    )
    assert kept < 100 < usual
