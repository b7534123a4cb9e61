import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from torchsid.bench import memory
from torchsid.bench.peak import Job, measure
from torchsid.cli.main import main
from torchsid.core import schedules

TINY = ["--width", "32", "--image-size", "4", "--batch-size", "8"]
CONTENDERS = ("backprop", "checkpointing", "accumulation", "deep supervision", "sid-2", "sid-4")


def test_every_procedure_is_timed_at_every_depth(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "step", "--depths", "1", "2", "--rounds", "2", "--batch-size", "8", "--threads", "1"]
    assert main([*arguments, "--json", "out.json"]) == 0
    result = json.loads(Path("out.json").read_text())
    procedures = {"reference", "backprop", *schedules.names()}
    assert {(row["procedure"], row["depth"]) for row in result["rows"]} == {(p, d) for p in procedures for d in (1, 2)}
    assert result["command"] == shlex.join(["torchsid", *arguments, "--json", "out.json"])
    shown = capsys.readouterr().out
    assert all(shown.count(f"\n{name} ") == 2 for name in procedures)
    assert f"file://{Path.cwd()}/out.json" in shown


def test_a_trunk_is_timed_traced_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "step", "--model", "mlp", "--stages", "2", "4", "99", "--rounds", "2", "--threads", "1", *TINY]
    arguments += ["--trace", "--json", "out.json", "--figure", "out.svg"]
    assert main(arguments) == 0
    result = json.loads(Path("out.json").read_text())
    assert [row["contender"] for row in result["rows"]] == list(CONTENDERS)
    assert result["command"] == shlex.join(["torchsid", *arguments])
    assert result["settings"]["rounds"] == 2
    assert result["provenance"]["versions"]["torch"]
    (trace,) = result["trace"]
    assert [event["what"] for event in trace["events"][:3]] == ["stage 1 forward", "stage 1 updated", "stage 2 forward"]
    shown = capsys.readouterr().out
    assert all(f"\nmlp    {name} " in shown for name in CONTENDERS)
    assert "left out: mlp with 99 stages" in shown
    assert "all stages updated" in shown
    assert ">sid-4</text>" in Path("out.svg").read_text()


def test_the_memory_of_a_trunk(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def in_this_process(job: Job) -> dict[str, Any]:
        return {"note": "no compiler"} if job.entry.method == "accumulation" else {**measure(job), "peak_mib": None}

    monkeypatch.setattr(memory, "_in_a_process", in_this_process)
    assert main(["bench", "memory", "--model", "mlp", "--blocks", "3", *TINY, "--json", "out.json"]) == 0
    rows = json.loads(Path("out.json").read_text())["rows"]
    assert [(row["contender"], row["stages"]) for row in rows][-1] == ("sid-3", 3)
    shown = capsys.readouterr().out
    assert "mlp, 3 blocks  sid-3 " in shown
    assert "left out: mlp, 3 blocks, accumulation: no compiler" in shown


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (["step", "--rounds", "1"], ["2 or more"]),
        (["step", "--rounds", "1", "--trace", "--stages", "4"], ["2 or more", "--stages, --trace: not for the shared cascade"]),
        (["step", "--model", "shared", "mlp"], ["stands alone"]),
        (["step", "--model", "mpl", "--depths", "3", "--rounds", "1"], ["did you mean 'mlp'?", "--depths is for", "2 or more"]),
        (["memory", "--model", "mlp", "--stages", "99"], ["1 to 10"]),
        (["memory", "--model", "shared", "--variant", "fp8"], ["unknown model 'shared'", "unknown variant 'fp8'"]),
    ],
)
def test_wrong_requests_are_refused_with_all_problems(
    arguments: list[str], problems: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments, "--json", "out.json"]) == 2
    shown = capsys.readouterr().err
    assert all(problem in shown for problem in problems)
    assert shown.count("\n  - ") == len(problems)
    assert not Path("out.json").exists()
