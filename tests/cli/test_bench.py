import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchsid.bench import steps
from torchsid.bench.pipeline.contenders import pipeline_contenders
from torchsid.bench.steps import Row, memory_row, new_row
from torchsid.bench.workload import BACKPROP, SID, Procedure, Workload
from torchsid.cli.main import main
from torchsid.core import schedules

Measured = Callable[..., dict[str, Any]]
Output = pytest.CaptureFixture[str]
TINY = ["--width", "32", "--image-size", "4", "--batch-size", "8"]
CONTENDERS = ("backprop", "checkpointing", "accumulation", "deep supervision", "sid-2", "sid-4")


def test_every_procedure_is_timed_at_every_depth(measured: Measured, capsys: Output) -> None:
    arguments = ["bench", "step", "--depths", "1", "2", "--rounds", "2", "--batch-size", "8", "--threads", "1"]
    result = measured(*arguments)
    procedures = {"reference", "backprop", "plain", *schedules.names()}
    assert {(row["procedure"], row["depth"]) for row in result["rows"]} == {(p, d) for p in procedures for d in (1, 2)}
    assert result["command"] == shlex.join(["torchsid", *arguments, "--json", "out.json"])
    shown = capsys.readouterr().out
    assert all(shown.count(f"  {name} ") == 2 for name in procedures)
    assert f"file://{Path.cwd()}/out.json" in shown


def test_a_trunk_is_timed_traced_and_drawn(measured: Measured, capsys: Output) -> None:
    arguments = ["bench", "step", "--model", "mlp", "--stages", "2", "4", "99", "--rounds", "2", "--threads", "1", *TINY]
    result = measured(*arguments, "--trace", "--figure", "out.svg")
    assert [row["contender"] for row in result["rows"]] == list(CONTENDERS)
    assert result["settings"]["rounds"] == 2
    assert result["provenance"]["versions"]["torch"]
    (trace,) = result["trace"]
    assert [event["what"] for event in trace["events"][:3]] == ["stage 1 forward", "stage 1 updated", "stage 2 forward"]
    shown = capsys.readouterr().out
    assert all(f"\nmlp, width 32  {name} " in shown for name in CONTENDERS)
    assert "left out: mlp, width 32 with 99 stages" in shown
    assert "all stages updated" in shown
    assert "gradients" not in shown  # a column without a number
    assert ">sid-4</text>" in Path("out.svg").read_text()


def test_the_memory_of_a_trunk(measured: Measured, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_this_process(work: object, workload: Workload, contender: Procedure, threads: int) -> Row:
        if contender.method == "accumulation":
            return new_row(workload, contender, "no compiler")
        return memory_row(workload, contender)

    monkeypatch.setattr(steps, "in_fresh_processes", in_this_process)
    rows = measured("bench", "memory", "--model", "mlp", "--blocks", "3", *TINY)["rows"]
    assert [(row["contender"], row["stages"]) for row in rows][-1] == ("sid-3", 3)
    shown = capsys.readouterr().out
    assert "mlp, 3 blocks, width 32  sid-3 " in shown
    assert "left out: mlp, 3 blocks, width 32, accumulation: no compiler" in shown


@pytest.mark.slow
def test_a_pipeline_is_timed_drawn_and_written(measured: Measured, capsys: Output) -> None:
    tiny = "--blocks 4 --stages 4 --width 32 --image-size 4 --batch-size 16 --rounds 2 --micro-batches 2 --no-memory"
    result = measured("bench", "pipeline", "--model", "mlp", *tiny.split(), "--figure", "o.svg")
    shown = capsys.readouterr().out
    compared, _ = pipeline_contenders((2,), workers=2, stages=4)
    assert [row["contender"] for row in result["rows"]] == [each.name for each in compared]
    for row in result["rows"]:
        alone = "one worker" in row["contender"]
        assert (row["rounds"], row["workers"], row["sent_bytes"] > 0) == (2, 1 if alone else 2, not alone)
        assert row["idle"] is None or all(-1e-6 < share <= 1 for share in row["idle"])
    best = [row["contender"] for row in result["rows"] if row["best"]]
    assert len(best) == len({each.method for each in compared})
    assert [each["contender"] for each in result["timelines"]] == best
    (assigned,) = result["assignments"]
    assert {method: len(each) for method, each in assigned["stage_seconds"].items()} == {SID: 4, BACKPROP: 4}
    assert sum(assigned["stages_a_worker"][SID]) == 4
    assert all(f"mlp, 4 blocks, width 32  {name} " in shown for name in best)
    assert all(f">{name}</text>" in Path("o.svg").read_text() for name in best)


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (["step", "--rounds", "1"], ["2 or more"]),
        (["step", "--rounds", "1", "--trace", "--stages", "4"], ["2 or more", "--stages, --trace: not for the shared cascade"]),
        (["step", "--model", "shared", "mlp"], ["stands alone"]),
        (["step", "--model", "mpl", "--depths", "3", "--rounds", "1"], ["did you mean 'mlp'?", "--depths is for", "2 or more"]),
        (["memory", "--model", "mlp", "--stages", "99"], ["1 to 10"]),
        (["memory", "--model", "shared", "--variant", "fp8"], ["unknown model 'shared'", "unknown variant 'fp8'"]),
        (
            ["memory", "--variant", "captured", "--device", "cpu"],
            ["as a CUDA graph; use device cuda", "memory is that of an eager step"],
        ),
        (["pipeline", "--model", "mpl", "--rounds", "1"], ["did you mean 'mlp'?", "rounds=1"]),
        (["pipeline", "--workers", "9", "--micro-batches", "3"], ["needs a stage", "must divide the batch", "over 9 workers"]),
        (
            ["pipeline", "--wire", "fp8", "--blocks", "4", "--model", "resnet-18"],
            ["unknown wire 'fp8'", "resnet-18 has a fixed number"],
        ),
        (["pipeline", "--model", "simple-cnn", "--stages", "99"], ["1 to"]),
    ],
)
def test_wrong_requests_are_refused_with_all_problems(arguments: list[str], problems: list[str], capsys: Output) -> None:
    assert main(["bench", *arguments, "--json", "out.json"]) == 2
    shown = capsys.readouterr().err
    assert all(problem in shown for problem in problems)
    assert shown.count("\n  - ") == len(problems)
    assert not Path("out.json").exists()


def test_a_launcher_starts_the_workers_that_are_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main(["bench", "pipeline", "--memory"]) == 2
    shown = capsys.readouterr().err
    assert "the launcher started 3 processes" in shown
    assert "start without torchrun" in shown
