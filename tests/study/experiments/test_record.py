import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet
from tests.study.experiments.samples import experiment, result

from torchsid.errors import RunError
from torchsid.study.experiments import record
from torchsid.study.experiments.experiment import Contender
from torchsid.study.experiments.result import COLUMNS

SCORES = {("SID", "4"): [96.0, 97.5], ("BP", "4"): [95.0, 96.0], ("SID", "2"): [90.0, 91.0], ("BP", "2"): [90.5, 89.0]}


def test_rows_summary_figures_and_page_are_written(tmp_path: Path) -> None:
    files = record.write(result(SCORES, values=("2", "4")), tmp_path)
    assert all(path.is_file() for path in files.values())
    table = parquet.read_table(files["rows"])
    assert table.column_names == list(COLUMNS)
    assert table.num_rows == 8 * 2 * 2 * 2 + 4 * 3
    assert table["train_seconds"].drop_null().to_pylist() == [3.0] * 64
    assert {path.name for path in tmp_path.glob("*.svg")} == {"accuracy.svg", "best.svg"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_summary_has_all_that_is_needed_to_judge(tmp_path: Path) -> None:
    record.write(result(SCORES, values=("2", "4")), tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["command"] == "torchsid experiment depth"
    assert found["versions"] == {"torch": "2"}
    assert found["data"] == {"digits": {"a": "ff"}}
    (contrast,) = [row for row in found["contrasts"] if (row["contender"], row["value"], row["metric"]) == ("BP", "4", "accuracy")]
    assert (contrast["difference"], contrast["n"]) == (pytest.approx(-1.25), 2)
    assert contrast["reference"] == {"contender": "SID", "value": "4"}
    assert contrast["by_seed"] == {"0": -1.0, "1": -1.5}
    assert (contrast["bootstrap_low"], contrast["bootstrap_high"]) == (-1.5, -1.0)  # of two, their range
    assert contrast["low"] < -1.5 < -1.0 < contrast["high"]
    summary = next(row["metrics"]["accuracy"] for row in found["summary"] if (row["contender"], row["value"]) == ("SID", "2"))
    assert (summary["bootstrap_low"], summary["bootstrap_high"]) == (90.0, 91.0)


def test_one_seed_has_no_interval_of_either_kind(tmp_path: Path) -> None:
    record.write(result({("SID", "4"): [96.0], ("BP", "4"): [95.0]}, values=("4",)), tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    rows = [*found["contrasts"], *(row["metrics"]["accuracy"] for row in found["summary"] if row["metrics"])]
    assert {row[name] for row in rows for name in ("low", "high", "bootstrap_low", "bootstrap_high")} == {None}


def test_without_an_axis_the_figure_is_the_trade_off(tmp_path: Path) -> None:
    about = experiment(axis=None, contenders={"SID": Contender(), "BP": Contender(settings={"learner.name": "backprop"})})
    record.write(result({("SID", ""): [96.0, 97.0], ("BP", ""): [95.0, 96.0]}, of=about), tmp_path)
    assert {path.name for path in tmp_path.glob("*.svg")} == {"tradeoff.svg"}


def test_nothing_that_ran_is_no_crash(tmp_path: Path) -> None:
    empty = replace(result(SCORES, values=("2", "4")), runs={}, rates={})
    record.write(empty, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["finished"] is None


def test_missing_packages_are_named_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    record.check_packages()
    monkeypatch.setattr(record, "find_spec", lambda name: None if name == "pyarrow" else importlib.util.find_spec(name))
    with pytest.raises(RunError, match=r"pyarrow: pip install 'torchsid\[files\]'"):
        record.check_packages()
