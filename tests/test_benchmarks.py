"""The scripts behind the recorded results still run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from torchsid.study.experiments.experiment import load
from torchsid.study.experiments.grid import check
from torchsid.training import resolve, train

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, BENCHMARKS / script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*/*.toml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_plans_are_made_of_settings_that_fit(path: Path) -> None:
    check(load(str(path)), "DIR")


def test_record_keeps_the_numbers_and_no_folder_of_the_machine(tmp_path: Path) -> None:
    path = train(
        resolve("digits", ["training.epochs=1", "data.limit=200"]),
        tmp_path / "a-run",
        command=f"torchsid train --out {tmp_path}/a-run",
    )
    run("record.py", str(path), "--out", str(tmp_path / "digits"))
    (kept,) = json.loads((tmp_path / "digits.json").read_text())
    evaluation = json.loads((path / "evaluation.json").read_text())
    assert kept["evaluation"]["last"]["test"]["accuracy"] == evaluation["last"]["test"]["accuracy"]
    assert len(kept["epochs"]) == 1
    assert str(tmp_path) not in (tmp_path / "digits.json").read_text()
    assert f"{100 * evaluation['last']['test']['accuracy'][-1]:.2f} %" in (tmp_path / "digits.md").read_text()
