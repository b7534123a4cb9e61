from pathlib import Path

import pytest

from torchsid.cli.main import main
from torchsid.study.experiments.experiment import names

TINY = """
question = "Which is better?"
recipe = "digits"
rates = [0.01]
seeds = [0, 1]
settings = { "data.limit" = 200, "training.epochs" = 1, "model.depth" = 2, "watch.conflict" = false }

[contenders]
BP = { "learner.name" = "backprop" }
SID = {}
"""


def test_the_list_has_every_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown and question in shown for name, question in names().items())


def test_an_experiment_ends_with_its_findings_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text(TINY)
    secret = tmp_path / "data"
    arguments = ["experiment", str(tmp_path / "mine.toml"), "--data", str(secret), "--budget", "600"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "mine, small: Which is better?" in shown
    assert "Differences" in shown
    out = Path("experiments/mine-small")
    assert (out / "report.html").is_file()
    assert "--data DIR" in (out / "results.json").read_text()
    assert str(secret) not in (out / "results.json").read_text() + (out / "report.html").read_text()
    assert main(arguments) == 0
    assert "already there" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["alhpa"], [], ["nowhere.toml"], ["timing", "--data", "d"], ["timing", "--workers", "2"]])
def test_what_cannot_be_met_is_one_message(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", *arguments]) == 2
    assert capsys.readouterr().err.startswith("torchsid: error: 1 problem in the ")
    assert not Path("experiments").exists()


@pytest.mark.parametrize("minutes", ["0", "-1", "soon", "inf"])
def test_a_budget_is_a_number_of_minutes(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["experiment", "alpha", "--budget", minutes])
    assert "number above 0" in capsys.readouterr().err


TINY_TIMING = """
kind = "timing"
question = "Where?"
rounds = 2
shared = [{ extractor = "mlp", depths = [2], hidden = 8, batch_size = 8, image_size = 4 }]
"""


def test_an_experiment_of_another_kind_measures_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cost.toml").write_text(TINY_TIMING)
    arguments = ["experiment", str(tmp_path / "cost.toml")]
    assert main(arguments) == 0
    assert "cost, small: Where?" in capsys.readouterr().out
    found = {path.name for path in Path("experiments/cost-small").iterdir()}
    assert {"measured.jsonl", "results.json", "results.parquet", "report.html"} < found
    assert main(arguments) == 0
    assert "already there" in capsys.readouterr().out
