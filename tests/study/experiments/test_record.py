import importlib.util
import json
from pathlib import Path

import pytest
from tests.study.experiments.samples import analysis

from torchsid.errors import RunError
from torchsid.study.experiments import record

SCORES = {("SID", "4"): [96.0, 97.5], ("BP", "4"): [95.0, 96.0], ("SID", "2"): [90.0, 91.0], ("BP", "2"): [90.5, 89.0]}


def test_summary_figures_and_page_are_written_with_all_that_is_needed_to_judge(tmp_path: Path) -> None:
    files = record.write(analysis(SCORES), tmp_path / "out")
    assert files["report"].is_file()
    assert {path.name for path in (tmp_path / "out").glob("*.svg")} == {"accuracy.svg", "best.svg"}
    found = json.loads(files["summary"].read_text())
    assert found["command"] == "torchsid experiment depth"
    assert found["versions"] == {"torch": "2"}
    assert found["data"] == {"digits": {"a": "ff"}}
    (difference,) = [row for row in found["differences"] if (row["place"], row["metric"]) == (["BP", "4"], "accuracy")]
    assert (difference["paired"]["difference"], difference["paired"]["n"]) == (pytest.approx(-0.0125), 2)
    assert difference["reference"] == ["SID", "4"]
    summary = next(row["metrics"]["accuracy"] for row in found["summary"] if (row["contender"], row["point"]) == ("SID", "2"))
    assert summary["by_seed"] == {"0": 0.9, "1": 0.91}
    assert (summary["bootstrap_low"], summary["bootstrap_high"]) == (0.9, 0.91)  # of two, their range
    assert summary["low"] < 0.9 < 0.91 < summary["high"]


def test_one_seed_has_no_interval_over_seeds(tmp_path: Path) -> None:
    found = json.loads(record.write(analysis({("SID", "4"): [96.0], ("BP", "4"): [95.0]}), tmp_path)["summary"].read_text())
    assert found["differences"][0]["paired"]["low"] is None
    assert {row["metrics"]["kl"]["low"] for row in found["summary"] if "kl" in row["metrics"]} <= {None}


def test_nothing_that_ran_is_no_crash(tmp_path: Path) -> None:
    assert json.loads(record.write(analysis({}), tmp_path)["summary"].read_text())["finished"] is None


def test_missing_packages_are_named_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    record.check_packages()
    monkeypatch.setattr(record, "find_spec", lambda name: None if name == "pyarrow" else importlib.util.find_spec(name))
    with pytest.raises(RunError, match=r"pyarrow: pip install 'torchsid\[files\]'"):
        record.check_packages()
