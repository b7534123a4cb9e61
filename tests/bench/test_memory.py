from typing import Any

import pytest

from torchsid.bench import memory
from torchsid.bench.contenders import BACKPROP, Entry
from torchsid.bench.memory import bench_memory
from torchsid.bench.peak import Job, measure
from torchsid.bench.workload import Workload
from torchsid.errors import RunError

MLP = Workload(model="mlp", stages=(2,), width=32, batch_size=8, image_size=4)


def test_every_contender_has_a_row_relative_to_backpropagation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Job] = []

    def in_this_process(job: Job) -> dict[str, Any]:
        seen.append(job)
        if job.entry.method == "accumulation":
            return {"note": "why"}
        return {**measure(Job(workload=job.workload, entry=job.entry)), "peak_mib": float(len(seen))}

    monkeypatch.setattr(memory, "_in_a_process", in_this_process)
    lines: list[str] = []
    result = bench_memory([MLP], threads=3, progress=lines.append)
    rows = {row["contender"]: row for row in result["rows"]}
    assert list(rows) == [BACKPROP, "checkpointing", "accumulation", "deep supervision", "sid-2"]
    assert rows[BACKPROP]["kept_over_backprop"] == rows[BACKPROP]["peak_over_backprop"] == 1
    assert rows["sid-2"]["kept_over_backprop"] == rows["sid-2"]["kept_bytes"] / rows[BACKPROP]["kept_bytes"]
    assert rows["sid-2"]["peak_over_backprop"] == 5
    assert rows["accumulation"]["note"] == "why"
    assert rows["accumulation"]["kept_over_backprop"] is None
    assert {job.threads for job in seen} == {3}
    assert lines[0] == "mlp: backprop"
    assert result["settings"]["workloads"][0]["model"] == "mlp"
    assert result["provenance"]["versions"]["torch"]


@pytest.mark.slow
def test_a_process_of_its_own() -> None:
    measured = memory._in_a_process(Job(workload=MLP, entry=Entry("sid", 2), threads=1))
    assert measured["kept_bytes"] == measure(Job(workload=MLP, entry=Entry("sid", 2)))["kept_bytes"]


@pytest.mark.slow
def test_a_process_that_fails_says_what_it_was_doing() -> None:
    with pytest.raises(RunError, match=r"mlp, magic: its process ended with exit code 1: KeyError: 'magic'"):
        memory._in_a_process(Job(workload=MLP, entry=Entry("magic")))
