import sys

import pytest
import torch

from torchsid.evidence.bench import peak
from torchsid.evidence.bench.contenders import Contender, Entry
from torchsid.evidence.bench.peak import Job, measure, peak_mib
from torchsid.evidence.bench.workload import Workload

MLP = Workload(model="mlp", stages=(2,), width=32, batch_size=8, image_size=4)


def test_json_and_back() -> None:
    job = Job(workload=MLP, entry=Entry("sid", 2), threads=3)
    assert Job.from_json(job.to_json()) == job


def test_memory_and_heads_are_measured() -> None:
    measured = measure(Job(workload=MLP, entry=Entry("sid", 2)))
    assert set(measured) == {"peak_mib", "kept_bytes", "head_parameters", "head_share"}
    assert measured["kept_bytes"] > 0
    assert measured["head_parameters"] > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_the_peak_holds_what_a_step_takes_and_not_what_was_there_before() -> None:
    size = 48 * 2**20
    there_before = torch.ones(2 * size, dtype=torch.uint8)
    steps = []

    def step() -> None:
        steps.append(int(torch.ones(size, dtype=torch.uint8)[0]))

    module = torch.nn.Linear(1, 1)
    contender = Contender(module=module, optimizer=torch.optim.SGD(module.parameters()), step=step)
    found = peak_mib(contender, torch.device("cpu"))
    assert found is not None
    assert 40 < found < 72
    assert len(steps) == 3
    assert int(there_before[0]) == 1


def test_a_contender_that_cannot_be_had_has_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(workload: Workload, entry: Entry) -> Contender:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(peak, "build", broken)
    compiled = Workload(model="mlp", stages=(2,), variant="compiled")
    assert measure(Job(workload=compiled, entry=Entry("sid", 2))) == {"note": "fails when compiled: no compiler"}
