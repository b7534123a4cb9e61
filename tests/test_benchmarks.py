"""The scripts behind the recorded results still run."""

import json
import runpy
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from torchsid.study.experiments.experiment import load
from torchsid.study.experiments.grid import check
from torchsid.training import resolve, train

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*/*.toml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_plans_are_made_of_settings_that_fit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(path.parent)  # of heads that are no part of the package
    check(load(str(path)), "" if path.stem.startswith("control") else "DIR")  # environments are no files


def test_what_a_gpu_is_measured_for_is_read_from_captured_steps() -> None:
    script = runpy.run_path(str(BENCHMARKS / "gpu.py"))
    args = Namespace(smoke=True, data=None, compiled=False)
    names = [name for name, _, _ in script["parts"](args)]
    assert names == ["resnet-18-128", "vit-tiny-128", "shared", "resnet-18-512", "loop", "memory"]
    eager = [{"contender": "backprop", "step_ms": 8.0}, {"contender": "batched", "step_ms": 4.0}]
    captured = [{"contender": "backprop", "step_ms": 3.0}, {"contender": "batched", "step_ms": 1.0}]
    failed = [{"contender": "backprop", "step_ms": 1.0}, {"contender": "sid-4", "note": "fails when captured"}]
    sid = {"contender": "sid-4", "step_ms": 2.0}
    found = script["aims"]({"shared": {"rows": [*eager, *captured]}, "resnet-18-128": {"rows": [sid, *failed]}})
    assert [(bound, reached) for _, bound, reached in found] == [("≥ 5", 8.0), ("≥ 2", 3.0)]


def test_the_table_of_prices_is_made_of_what_is_recorded() -> None:
    script, recorded = runpy.run_path(str(BENCHMARKS / "prices.py")), BENCHMARKS / "results" / "prices.md"
    sources = json.loads(recorded.with_suffix(".json").read_text())
    assert script["table"](script["rows"](**sources)) == recorded.read_text()


def test_record_keeps_the_numbers_and_no_folder_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = train(
        resolve("digits", ["training.epochs=1", "data.limit=200"]),
        tmp_path / "a-run",
        command=f"torchsid train --out {tmp_path}/a-run",
    )
    monkeypatch.setattr(sys, "argv", ["record.py", str(path), "--out", str(tmp_path / "digits")])
    runpy.run_path(str(BENCHMARKS / "record.py"), run_name="__main__")
    (kept,) = json.loads((tmp_path / "digits.json").read_text())
    evaluation = json.loads((path / "evaluation.json").read_text())
    assert kept["evaluation"]["last"]["test"]["accuracy"] == evaluation["last"]["test"]["accuracy"]
    assert len(kept["epochs"]) == 1
    assert str(tmp_path) not in (tmp_path / "digits.json").read_text()
    assert f"{100 * evaluation['last']['test']['accuracy'][-1]:.2f} %" in (tmp_path / "digits.md").read_text()
