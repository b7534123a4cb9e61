"""Runs side by side, as tables and as a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchsid.cli.console import Console
from torchsid.cli.main import main
from torchsid.show.tables import Cell, Table

Measured = Callable[..., dict[str, Any]]
Output = pytest.CaptureFixture[str]


def test_runs_side_by_side_with_the_difference(runs: Path, measured: Measured, capsys: Output) -> None:
    result = measured("compare", runs)
    lines = capsys.readouterr().out.splitlines()
    assert "Difference" in lines[1]
    assert [method["runs"] for method in result["methods"]] == [[str(runs / "digits")], [str(runs / "digits-bp")]]
    evaluation = json.loads((runs / "digits-bp" / "evaluation.json").read_text())["last"]["test"]
    name = result["methods"][1]["name"]
    place = {"method": name, "metric": "accuracy", "weights": "last", "split": "test", "stage": 2}
    (row,) = [row for row in result["rows"] if place.items() <= row.items()]
    assert row["value"] == pytest.approx(evaluation["accuracy"][-1])
    assert result["differences"][0]["place"] == [name, ""]
    assert result["differences"][0]["paired"]["n"] == evaluation["n"]
    assert [line.startswith(name) for line in lines[2:4]] == [False, True]


def test_the_first_run_is_the_reference(runs: Path, measured: Measured) -> None:
    methods = measured("compare", runs / "digits-bp", runs)["methods"]
    assert [Path(method["runs"][0]).name for method in methods] == ["digits-bp", "digits"]


def test_deep_cascades_are_shown_by_their_ends(capsys: Output) -> None:
    table = Table(("stage", "premise"), tuple((Cell(f"stage {k}"), Cell(f"{k}.0")) for k in range(1, 21)), "a caption")
    Console().show(table, by_stage=True)
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == [
        *("a caption", "stage", "stage 1", "stage 2", "stage 3", "…", "stage 19", "stage 20", "")
    ]


def test_a_report_of_two_runs(runs: Path, tmp_path: Path, capsys: Output) -> None:
    names = [str(runs / "digits"), str(runs / "digits-bp")]
    assert main(["report", *names, "--out", "page.html"]) == 0
    assert capsys.readouterr().out == f"report: file://{tmp_path}/page.html\n"
    assert Path("page.html").read_text() == (runs / "report.html").read_text()


def test_one_directory_gets_its_report_inside(runs: Path, capsys: Output) -> None:
    (runs / "digits" / "report.html").unlink()
    assert main(["report", str(runs / "digits")]) == 0
    assert (runs / "digits" / "report.html").is_file()


def test_several_directories_need_a_place(runs: Path, capsys: Output) -> None:
    assert main(["report", str(runs / "digits"), str(runs / "digits-bp")]) == 2
    assert "--out FILE" in capsys.readouterr().err
