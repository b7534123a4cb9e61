import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from torchsid.cli.main import main

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("weights", ["best", "last"])
def test_the_numbers_are_those_of_the_training(runs: Path, split: str, weights: str, capsys: Output) -> None:
    assert main(["evaluate", str(runs / "digits"), "--split", split, "--weights", weights, "--json", "out.json"]) == 0
    captured = capsys.readouterr()
    measured = json.loads(Path("out.json").read_text())
    recorded = json.loads((runs / "digits" / "evaluation.json").read_text())[weights][split]
    assert measured["accuracy"] == recorded["accuracy"]
    assert measured["kl"] == pytest.approx(recorded["kl"])
    assert (measured["weights"], measured["split"]) == (weights, split)
    rows = [line.partition("  ")[0] for line in captured.out.splitlines()]
    assert rows[1:4] == ["prior", "stage 1", "stage 2"]
    assert f"{100 * recorded['accuracy'][-1]:.2f}" in captured.out
    assert captured.err == ""


def test_a_directory_without_a_run_is_refused(capsys: Output) -> None:
    assert main(["evaluate", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_the_data_may_have_moved(tmp_path: Path, tiny: Callable[..., list[str]], digits: list[str], capsys: Output) -> None:
    for split, label, image in itertools.product(("train", "test"), "ab", digits):
        (tmp_path / "old" / split / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, tmp_path / "old" / split / label)
    settings = [word for setting in ("name=folder", "validation=0.0", "limit=0") for word in ("--set", f"data.{setting}")]
    assert main(tiny("digits", "--out", "run", "--quiet", *settings, "--data", "old")) == 0
    (tmp_path / "old").rename(tmp_path / "new")
    assert main(["evaluate", "run"]) == 2
    assert "old" in capsys.readouterr().err
    assert main(["evaluate", "run", "--data", "new"]) == 0


def test_other_samples_are_pointed_out(runs: Path, tmp_path: Path, capsys: Output) -> None:
    shutil.copytree(runs / "digits", tmp_path / "run")
    manifest = tmp_path / "run" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["data"]["fingerprint"]["arrays/test"] = "0" * 64
    manifest.write_text(json.dumps(content))
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "SHA-256" in capsys.readouterr().err
