import pytest

from torchsid.bench import memory
from torchsid.bench.contenders import BACKPROP, Contender
from torchsid.bench.memory import bench_memory, measure
from torchsid.bench.rows import Row, new_row
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
