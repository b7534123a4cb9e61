"""Numbers and classes of tables go through the same commands as classes of images."""

import csv
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from torchsid.cli.main import main
from torchsid.training import resolve, train
from torchsid.training.reporter import Reporter
from torchsid.training.session import Interrupted

SHORT = ["--set=training.epochs=3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "diabetes"
    assert main(["train", "diabetes", *SHORT, "--out", str(path)]) == 0
    return path


def test_errors_are_reported_after_every_stage(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())
    test = evaluation["last"]["test"]
    assert test["n"] == 88
    assert [len(test["scores"][name]) for name in ("mae", "rmse", "r2", "coverage")] == [3, 3, 3, 3]
    assert evaluation["floor"]["name"] == "ridge regression"
    assert main(["evaluate", str(run), "--weights", "last"]) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("MAE", "RMSE", "R²", "within 90%", "ridge regression", f"{test['scores']['mae'][2]:.4f}"))
    assert "accuracy" not in told
    assert main(["evaluate", str(run), "--weights", "last", "--exit-when", "entropy<0"]) == 0
    assert f"{test['scores']['mae'][2]:.4f}  stage 2.00 of 2" in capsys.readouterr().out  # MAE of whom nobody leaves early
    assert main(["evaluate", str(run), "--exit-curve"]) == 2
    assert "answers with a number; measure one rule" in capsys.readouterr().err
    assert main(["compare", str(run), str(run)]) == 0
    assert "mean absolute error" in capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert all(word in page for word in ("Mean absolute error", "Numbers within their interval", "Validation mean absolute error"))
    assert "What each stage believes of the number" in page
    assert "Validation accuracy" not in page


def test_rows_of_files_and_of_json_are_answered(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [column["name"] for column in json.loads((run / "manifest.json").read_text())["data"]["columns"]]
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join([",".join(names), *[",".join(str(i + k) for k in range(10)) for i in range(14)]]))
    one = json.dumps(dict.fromkeys(names))
    found = tmp_path / "found.csv"
    words = ["predict", str(run), str(rows), one, '{"age": 1}', "--table", str(found)]
    assert main([*words, "--json", str(tmp_path / "found.json")]) == 2
    captured = capsys.readouterr()
    assert "the row has no column" in captured.err
    with found.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines[:2]] == [f"{rows}, row 0", f"{rows}, row 1"]
    assert all(float(line["low"]) < float(line["answer"]) < float(line["high"]) for line in lines[:15])
    assert len(lines) == 16
    assert len(json.loads((tmp_path / "found.json").read_text())["images"][0]["beliefs"]) == 50
    assert main(["predict", str(run), one]) == 0
    assert "stage 2" in capsys.readouterr().out
    assert main(["predict", str(run), one, "--top", "3"]) == 2
    assert "answers with a number, leave it out" in capsys.readouterr().err


class Stopper(Reporter):
    """Stops the training after its first epoch."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        if record["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_that_was_interrupted_goes_on_to_the_same_numbers(run: Path, tmp_path: Path) -> None:
    config = resolve("diabetes", ["training.epochs=3"])
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", reporter=Stopper())
    train(config, tmp_path / "run", resume=True)
    whole, resumed = (json.loads((path / "evaluation.json").read_text()) for path in (run, tmp_path / "run"))
    assert whole["last"] == resumed["last"]


@pytest.mark.parametrize("recipe", ["breast-cancer", "diabetes-bp"])
def test_the_other_recipes(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", recipe, *SHORT, "--out", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    floor = "logistic regression" if recipe == "breast-cancer" else "ridge regression"
    assert floor in capsys.readouterr().out


def test_angles_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["data.name=digits", "data.limit=0", "training.epochs=2", "model.width=16", "model.max_head_share=9"]
    assert main(["train", "rotation", *(f"--set={each}" for each in given), "--out", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "MAE" in capsys.readouterr().out
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "line.png")
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "line.png")]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:4]] == ["answer", "low", "high"]


def test_labels_of_numbers_are_not_audited(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(run)]) == 2
    assert "answers with a number" in capsys.readouterr().err
