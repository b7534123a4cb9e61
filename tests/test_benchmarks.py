"""The scripts behind the recorded results still run."""

import json
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from torchsid.training import resolve, train

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, BENCHMARKS / script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_depth_trains_every_method_and_writes_its_table(tmp_path: Path) -> None:
    run("depth.py", "--depths", "2", "3", "--seeds", "2", "--epochs", "1", "--out", str(tmp_path / "depth"))
    result = json.loads((tmp_path / "depth" / "depth.json").read_text())
    methods = {row["method"] for row in result["rows"]}
    assert len(result["rows"]) == len(methods) * 2 * 2
    assert all(len(row["accuracy"]) == row["depth"] + 1 for row in result["rows"])
    assert result["provenance"]["versions"]["torch"]
    table = (tmp_path / "depth" / "depth.md").read_text()
    assert all(method in table for method in methods)
    assert table.count("\n| ") == 3  # the line under the head, two depths


TINY = """
recipe = "digits"
rates = [0.001, 0.01]
seeds = [0, 1]

[settings]
"data.limit" = 200
"training.epochs" = 1

[contenders."BP"]
"model.network" = "plain"
"learner.name" = "backprop"

[contenders."SID, 2 stages"]
"model.depth" = 2

[ablations."alpha 1, half the rate"]
of = "SID, 2 stages"
times = 0.5
"model.depth" = 2
"learner.alpha" = 1.0
"""


@pytest.mark.slow
def test_accuracy_tunes_each_contender_and_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    out, data = tmp_path / "out", tmp_path / "data"
    monkeypatch.setattr(sys, "argv", ["accuracy.py", str(tmp_path / "tiny.toml"), "--data", str(data), "--out", str(out)])
    monkeypatch.syspath_prepend(BENCHMARKS)
    script = import_module("accuracy")
    script.main()
    result = json.loads((out / "tiny.json").read_text())
    rows = {(row["name"], row["rate"], row["seed"]): row for row in result["rows"]}
    bp, sid = (max((0.001, 0.01), key=lambda rate: rows[name, rate, 0]["validation_last"]) for name in ("BP", "SID, 2 stages"))
    tuning = {(name, rate, 0) for name in ("BP", "SID, 2 stages") for rate in (0.001, 0.01)}
    assert rows.keys() == tuning | {("BP", bp, 1), ("SID, 2 stages", sid, 1), ("alpha 1, half the rate", sid / 2, 0)}
    assert all(len(row["test_by_stage"]) == (1 if row["name"] == "BP" else 2) for row in result["rows"])
    assert result["kept_bytes"]["BP"] > 0
    assert str(data) not in json.dumps(result)

    head, _, *lines = (out / "tiny.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *lines)]
    assert [row[0] for row in cells] == ["method", "BP", "SID, 2 stages", "alpha 1, half the rate"]
    assert [float(row[1]) for row in cells[1:]] == [bp, sid, sid / 2]
    assert cells[0][4] == "last, less BP"
    mean = 50 * (rows["BP", bp, 0]["test_last"] + rows["BP", bp, 1]["test_last"])
    assert cells[1][2].startswith(f"{mean:.2f} (")
    assert cells[3][2].endswith("(one seed)")
    assert "<svg" in (out / "tiny.svg").read_text()

    runs = {path.parent: path.stat().st_mtime_ns for path in (out / "runs").glob("*/manifest.json")}
    assert len(runs) == len(rows)
    (lost,) = (path for path in runs if path.name.startswith("alpha"))
    shutil.rmtree(lost)
    script.main()
    again = {path.parent: path.stat().st_mtime_ns for path in (out / "runs").glob("*/manifest.json")}
    assert {path for path in runs if again[path] != runs[path]} == {lost}
    found = json.loads((out / "tiny.json").read_text())["rows"]
    assert [row["test_by_stage"] for row in found] == [row["test_by_stage"] for row in result["rows"]]


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "accuracy").glob("*.toml")), ids=lambda path: path.stem)
def test_plans_of_accuracy_are_made_of_settings_that_fit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    script, plan = import_module("accuracy"), tomllib.loads(path.read_text())
    assert {table["of"] for table in plan.get("ablations", {}).values()} <= set(plan["contenders"])
    resolved = [resolve(plan["recipe"], script.settings_of(plan, name, "DIR")) for name in script.variants(plan)]
    assert len({repr(config) for config in resolved}) == len(resolved)


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
