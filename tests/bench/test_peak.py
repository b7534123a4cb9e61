import subprocess
import sys

import pytest

from torchsid.bench import peak
from torchsid.bench.contenders import Contender, Entry
from torchsid.bench.peak import Job, measure
from torchsid.bench.workload import Workload

MLP = Workload(model="mlp", stages=(2,), width=32, batch_size=8, image_size=4)


def test_json_and_back() -> None:
    job = Job(workload=MLP, entry=Entry("sid", 2), threads=3)
    assert Job.from_json(job.to_json()) == job


def test_memory_and_heads_are_measured() -> None:
    measured = measure(Job(workload=MLP, entry=Entry("sid", 2)))
    assert set(measured) == {"peak_mib", "kept_bytes", "head_parameters", "head_share"}
    assert measured["kept_bytes"] > 0
    assert measured["head_parameters"] > 0


IN_A_FRESH_PROCESS = """
import torch
from torchsid.bench.contenders import Contender
from torchsid.bench.peak import peak_mib

size = 96 * 2**20
there_before = torch.ones(2 * size, dtype=torch.uint8)
steps = []
module = torch.nn.Linear(1, 1)
step = lambda: steps.append(int(torch.ones(size, dtype=torch.uint8)[0]))
contender = Contender(module=module, optimizer=torch.optim.SGD(module.parameters()), step=step)
print(peak_mib(contender, torch.device("cpu")), len(steps), int(there_before[0]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_the_peak_holds_what_a_step_takes_and_not_what_was_there_before() -> None:
    """In a process of its own, as the bench does it: this one may give memory back to the system at any moment."""
    done = subprocess.run([sys.executable, "-c", IN_A_FRESH_PROCESS], capture_output=True, text=True, check=True)
    found, steps, there_before = done.stdout.split()
    assert 80 < float(found) < 130
    assert (steps, there_before) == ("3", "1")


def test_a_contender_that_cannot_be_had_has_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(workload: Workload, entry: Entry) -> Contender:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(peak, "build", broken)
    compiled = Workload(model="mlp", stages=(2,), variant="compiled")
    assert measure(Job(workload=compiled, entry=Entry("sid", 2))) == {"note": "fails when compiled: no compiler"}
