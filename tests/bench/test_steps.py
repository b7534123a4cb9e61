from itertools import count
from typing import Any

import pytest
from torch import nn

from torchsid.bench import recorder, steps
from torchsid.bench.comparisons import plan_shared
from torchsid.bench.recorder import Recorder
from torchsid.bench.steps import (
    STEPS_A_TURN,
    Row,
    bench_memory,
    bench_steps,
    memory_row,
    new_row,
    take_rounds,
    times_of,
    trace_steps,
)
from torchsid.bench.trainable import Trainable, build
from torchsid.bench.workload import BACKPROP, CHECKPOINTING, REFERENCE, SHARED, SID, Procedure, Workload
from torchsid.errors import CutError

MLP = Workload(model="mlp", stages=(2, 4), width=32, batch_size=8, image_size=4)


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return bench_steps([MLP, *plan_shared([2, 9], batch_size=4)], rounds=2, threads=1, progress=lambda _: None)


def test_every_contender_has_a_row_and_the_settings_are_told(result: dict[str, Any]) -> None:
    cut = [row["contender"] for row in result["rows"] if row["model"] == "mlp"]
    assert cut == [BACKPROP, CHECKPOINTING, "accumulation", "deep supervision", "sid-2", "sid-4"]
    shared = [(row["depth"], row["procedure"]) for row in result["rows"] if row["model"] == SHARED]
    assert len(shared) == len(set(shared)) == 2 * 6
    assert (result["settings"]["rounds"], result["settings"]["threads"]) == (2, 1)
    assert [each["model"] for each in result["settings"]["workloads"]] == ["mlp", SHARED, SHARED]


def test_a_contender_is_as_fast_as_itself_and_numbers_agree(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        assert row["note"] == ""
        for base in (BACKPROP, CHECKPOINTING, REFERENCE):
            if row["contender"] == base:
                assert row[f"step_over_{base}"] == 1
        low, high = row["step_quartiles_ms"]
        assert low <= row["step_ms"] <= high
        assert row["images_per_second"] == pytest.approx((8 if row["model"] == "mlp" else 4) * 1000 / row["step_ms"])
        assert ("gradients_ms" in row) == (row["model"] == SHARED)
        assert 0 < row.get("gradients_ms", 1e-3) < row["step_ms"]


def test_kept_bytes_come_with_the_times(result: dict[str, Any]) -> None:
    rows = {row["contender"]: row for row in result["rows"] if row["model"] == "mlp"}
    assert rows["sid-4"]["kept_bytes"] == build(MLP, Procedure("sid", 4)).kept_bytes()
    assert rows["sid-4"]["kept_over_backprop"] == rows["sid-4"]["kept_bytes"] / rows[BACKPROP]["kept_bytes"]
    assert rows[BACKPROP]["head_parameters"] == 0 < rows["sid-4"]["head_parameters"]
    kept = {(row["contender"], row["depth"]): row["kept_bytes"] for row in result["rows"] if row["model"] == SHARED}
    assert kept["streaming", 9] == kept["streaming", 2]
    assert kept[REFERENCE, 9] > 2 * kept[REFERENCE, 2]


def test_ratios_are_taken_within_a_round() -> None:
    one = {"gradients": 2.0, "update": 1.0, "extractor update": 1.0}
    slow = {what: 2 * seconds for what, seconds in one.items()}  # a slow moment, for all of them
    base = [{"gradients": 1.0, "update": 1.0}, {"gradients": 2.0, "update": 2.0}]
    found = times_of("streaming", {"streaming": [one, slow], REFERENCE: base, BACKPROP: base}, MLP)
    assert (found["step_ms"], found["step_quartiles_ms"], found["images_per_second"]) == (6000, (5000, 7000), pytest.approx(8 / 6))
    assert (found["step_over_reference"], found["gradients_over_reference"], found["gradients_ms"]) == (2, 2, 3000)
    whole = [{"gradients": 2.0}]  # as on CUDA, where a step is not taken apart
    assert "gradients_ms" not in times_of(REFERENCE, {REFERENCE: whole, BACKPROP: whole}, MLP)


def test_of_steps_in_a_row_the_clock_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "perf_counter", count().__next__)
    taken: list[None] = []
    trainable = Trainable(module=nn.Identity(), step=lambda: taken.append(None), recorder=Recorder("gradients"), in_a_row=5)
    assert take_rounds({SID: trainable}, rounds=2) == {SID: 2 * [{"gradients": 0.2}]}
    assert len(taken) == 3 * (1 + STEPS_A_TURN) * 5


def test_what_cannot_be_cut_or_compiled_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_compiler(workload: Workload, contender: Procedure) -> Trainable:
        if contender.method == "sid":
            raise RuntimeError("no\n compiler")
        if contender.method == CHECKPOINTING:
            raise CutError("no such cut")
        return build(MLP, contender)

    monkeypatch.setattr(steps, "build", without_compiler)
    compiled = Workload(model="mlp", stages=(2,), variant="compiled")
    rows = {row["contender"]: row for row in bench_steps([compiled], rounds=2, progress=lambda _: None)["rows"]}
    assert (rows["sid-2"]["note"], rows[CHECKPOINTING]["note"]) == ("fails when compiled: no compiler", "no such cut")
    assert "step_ms" not in rows["sid-2"]
    assert rows[BACKPROP]["step_over_backprop"] == 1
    with pytest.raises(RuntimeError, match="no\n compiler"):  # no reason where nothing is compiled
        memory_row(MLP, Procedure("sid", 2))


HALVES = Workload(model="mlp", stages=(2,), width=32, batch_size=8, image_size=4)


def test_every_contender_has_a_row_relative_to_backpropagation(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def in_this_process(work: object, workload: Workload, contender: Procedure, threads: int) -> Row:
        assert (work, threads) == (memory_row, 3)
        if contender.method == "accumulation":
            return new_row(workload, contender)
        return {**new_row(workload, contender), "peak_mib": float(len(told)), "kept_bytes": 10 * len(told)}

    monkeypatch.setattr(steps, "in_fresh_processes", in_this_process)
    result = bench_memory([HALVES], threads=3, progress=told.append)
    rows = {row["contender"]: row for row in result["rows"]}
    assert list(rows) == [BACKPROP, "checkpointing", "accumulation", "deep supervision", "sid-2"]
    assert rows[BACKPROP]["kept_over_backprop"] == rows[BACKPROP]["peak_over_backprop"] == 1
    assert rows["sid-2"]["kept_over_backprop"] == rows["sid-2"]["peak_over_backprop"] == 5
    assert "kept_over_backprop" not in rows["accumulation"]
    assert told[0] == "mlp, width 32: backprop"


def test_memory_and_heads_are_measured_in_one_process_too() -> None:
    *_, row = bench_memory([HALVES], fresh=False, progress=lambda _: None)["rows"]
    assert row["contender"] == "sid-2"
    assert min(row["kept_bytes"], row["head_parameters"]) > 0
    assert row["peak_mib"] is not None
    assert row["note"] == ""


def test_sid_updates_a_stage_before_the_next_runs_and_backpropagation_none_before_all_have() -> None:
    events = trace_steps(MLP)
    assert [event["what"] for event in events if event["contender"] == "sid-4"] == [
        f"stage {stage} {what}" for stage in (1, 2, 3, 4) for what in ("forward", "updated")
    ]
    assert [event["what"] for event in events if event["contender"] == "backprop"] == [
        *(f"stage {stage} forward" for stage in (1, 2, 3, 4)),
        "all stages updated",
    ]
    for contender in ("sid-4", "backprop"):
        times = [event["milliseconds"] for event in events if event["contender"] == contender]
        assert times == sorted(times)
        assert times[0] > 0
