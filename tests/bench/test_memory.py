import subprocess
import sys

import pytest

from torchsid.bench import memory
from torchsid.bench.contenders import BACKPROP, Contender
from torchsid.bench.memory import bench_memory, measure
from torchsid.bench.rows import Row, new_row
from torchsid.bench.trainable import Trainable
from torchsid.bench.workload import Workload

MLP = Workload(model="mlp", stages=(2,), width=32, batch_size=8, image_size=4)


def test_every_contender_has_a_row_relative_to_backpropagation(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def in_this_process(work: object, workload: Workload, contender: Contender, threads: int) -> Row:
        assert (work, threads) == (measure, 3)
        if contender.method == "accumulation":
            return new_row(workload, contender)
        return {**new_row(workload, contender), "peak_mib": float(len(told)), "kept_bytes": 10 * len(told)}

    monkeypatch.setattr(memory, "in_fresh_processes", in_this_process)
    result = bench_memory([MLP], threads=3, progress=told.append)
    rows = {row["contender"]: row for row in result["rows"]}
    assert list(rows) == [BACKPROP, "checkpointing", "accumulation", "deep supervision", "sid-2"]
    assert rows[BACKPROP]["kept_over_backprop"] == rows[BACKPROP]["peak_over_backprop"] == 1
    assert rows["sid-2"]["kept_over_backprop"] == rows["sid-2"]["peak_over_backprop"] == 5
    assert "kept_over_backprop" not in rows["accumulation"]
    assert told[0] == "mlp, width 32: backprop"


def test_memory_and_heads_are_measured() -> None:
    row = measure(MLP, Contender("sid", 2))
    assert min(row["kept_bytes"], row["head_parameters"]) > 0
    assert row["note"] == ""


def test_a_contender_that_cannot_be_had_has_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(workload: Workload, contender: Contender) -> Trainable:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(memory, "build", broken)
    compiled = Workload(model="mlp", stages=(2,), variant="compiled")
    assert measure(compiled, Contender("sid", 2))["note"] == "fails when compiled: no compiler"


IN_A_FRESH_PROCESS = """
import torch
from torchsid.bench.memory import peak_mib
from torchsid.bench.recorder import Recorder
from torchsid.bench.trainable import Trainable

size = 96 * 2**20
there_before = torch.ones(2 * size, dtype=torch.uint8)
taken = []
step = lambda: taken.append(int(torch.ones(size, dtype=torch.uint8)[0]))
trainable = Trainable(module=torch.nn.Linear(1, 1), step=step, recorder=Recorder())
print(peak_mib(trainable, steps=1), len(taken), int(there_before[0]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_the_peak_holds_what_a_step_takes_and_not_what_was_there_before() -> None:
    """In a process of its own, as the bench does it: this one may give memory back to the system at any moment."""
    done = subprocess.run([sys.executable, "-c", IN_A_FRESH_PROCESS], capture_output=True, text=True, check=True)
    found, taken, there_before = done.stdout.split()
    assert 80 < float(found) < 130
    assert (taken, there_before) == ("3", "1")
