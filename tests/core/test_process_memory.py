import sys

import pytest
import torch

from torchsid.core.process_memory import peak_memory_mib, reset_peak_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="run it on Linux, which alone starts a new peak")
def test_a_reset_forgets_the_peak_before_it() -> None:
    reset_peak_memory(CPU)
    block = torch.ones(100 * 2**18)  # 100 MiB
    high = peak_memory_mib(CPU)
    del block
    reset_peak_memory(CPU)
    low = peak_memory_mib(CPU)
    assert high is not None
    assert low is not None
    assert high - low > 90
