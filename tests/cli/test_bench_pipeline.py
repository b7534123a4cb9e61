import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from torchsid.bench.pipeline.entries import entries
from torchsid.cli.main import main

TINY = ["--stages", "4", "--width", "32", "--image-size", "4", "--batch-size", "16", "--rounds", "2", "--micro-batches", "2", "4"]


@pytest.mark.slow
def test_a_model_is_timed_drawn_and_written() -> None:
    arguments = ["bench", "pipeline", "--model", "mlp", "--blocks", "4", *TINY, "--no-memory"]
    arguments += ["--json", "out.json", "--figure", "out.svg"]
    done = subprocess.run([sys.executable, "-m", "torchsid", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(Path("out.json").read_text())
    compared, _ = entries((2, 4), workers=2, stages=4)
    assert [row["contender"] for row in result["rows"]] == [entry.name for entry in compared]
    best = [row["contender"] for row in result["rows"] if row["best"]]
    assert len(best) == len({entry.method for entry in compared})
    assert [each["contender"] for each in result["timelines"]] == best
    assert all(row["speed_up"] > 0 for row in result["rows"] if row["best"])
    assert result["command"] == shlex.join(["torchsid", *arguments])
    assert result["provenance"]["versions"]["torch"]
    assert sum(result["assignments"][0]["stages_a_worker"]["sid"]) == 4
    shown = done.stdout
    assert all(f"mlp, 4 blocks  {name} " in shown for name in best)
    assert "BatchNorm sees one micro-batch" in shown
    assert all(f">{name}</text>" in Path("out.svg").read_text() for name in best)


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (["--model", "mpl", "--rounds", "1"], ["did you mean 'mlp'?", "2 or more"]),
        (["--workers", "9", "--micro-batches", "3"], ["every worker needs a stage", "must divide the batch", "over 9 workers"]),
        (["--wire", "fp8", "--blocks", "4", "--model", "resnet-18"], ["unknown wire 'fp8'", "only mlp and vit-blocks"]),
        (["--model", "simple-cnn", "--stages", "99"], ["1 to"]),
    ],
)
def test_wrong_requests_are_refused_with_all_problems(
    arguments: list[str], problems: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "pipeline", *arguments, "--json", "out.json"]) == 2
    shown = capsys.readouterr().err
    assert all(problem in shown for problem in problems)
    assert shown.count("\n  - ") == len(problems)
    assert not Path("out.json").exists()


def test_a_launcher_starts_the_workers_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main(["bench", "pipeline", "--memory"]) == 2
    shown = capsys.readouterr().err
    assert "the launcher started 3 processes" in shown
    assert "start without torchrun" in shown
