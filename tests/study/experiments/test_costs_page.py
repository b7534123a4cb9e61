import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pyarrow import parquet

from torchsid.study.experiments.costs import Costs, Result, Shared
from torchsid.study.experiments.costs_page import headline, notes, write

ORIGIN = {"versions": {"torch": "2"}, "hardware": {"cpu": "a processor", "cores": 2, "threads": 1}, "git": None}


def row(method: str, value: int, quantity: str, middle: float, of: str | None = None) -> dict[str, object]:
    about = {"network": "net", "axis": "depth", "value": value, "stages": value, "batch_size": 8, "rounds": 2}
    number = {"quantity": quantity, "of": of, "median": middle, "low": 0.9 * middle, "high": 1.1 * middle}
    return {**about, "contender": method, "method": method, **number}


def timed(value: int, serial: float) -> list[dict[str, object]]:
    shares = {"extractor": serial / 2, "phase 1": serial / 2, "phase 2": 1 - serial}
    return [
        *(row("two_phase", value, "share", share, of=part) for part, share in shares.items()),
        row("two_phase", value, "serial share", serial),
        row("two_phase", value, "bound", 1 / (serial + (1 - serial) / value), of=f"{value} workers"),
        *(row(method, value, "seconds", 0.1) for method in ("two_phase", "backprop")),
        *(row(method, value, "over", 0.8, of="backprop") for method in ("two_phase", "backprop")),
    ]


def result(kind: str, *dropped: str) -> Result:
    rows = [*timed(2, 0.5), *timed(8, 0.2)]
    if kind == "memory":
        rows = [row(method, value, "kept bytes", 2.0**20) for method in ("streaming", "backprop") for value in (2, 8)]
    experiment = Costs(
        kind=kind, name=kind, question="What?", claim="Somebody says so.", shared=[Shared(extractor="mlp", depths=[2])]
    )
    return Result(experiment, rows, dropped, "a command", ORIGIN, "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize(("kind", "figures"), [("timing", ["depth-net", "depth-parts", "depth-steps"]), ("memory", ["depth-net"])])
def test_rows_summary_figures_and_page_are_written(kind: str, figures: list[str], tmp_path: Path) -> None:
    given = result(kind)
    files = write(given, tmp_path / "out")
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.svg")) == figures
    found = json.loads(files["summary"].read_text())
    assert (found["experiment"]["question"], found["experiment"]["size"]) == ("What?", "small")
    assert (found["versions"], found["hardware"]["cores"], found["git"]) == ({"torch": "2"}, 2, None)
    assert found["verdict"] == [headline(given)]
    assert found["rows"] == given.rows
    assert parquet.read_table(files["rows"]).num_rows == len(given.rows)
    page = files["report"].read_text()
    ElementTree.fromstring(page[page.index("<body>") : page.index("</html>")])
    assert page.count("<svg") == len(figures)
    assert all(text in page for text in ("<h1>What?</h1>", "Somebody says so.", "a command", "a processor"))
    assert not re.search(r"<script|src=|href=\"http|@import", page)


def test_the_headline_is_the_bound_or_what_depth_does() -> None:
    assert "1.33 to 3.33 times" in headline(result("timing"))
    assert "1 of 1 networks" in headline(result("memory"))


def test_what_was_left_out_is_said_first() -> None:
    assert notes(result("memory", "depth 8 of net"))[0] == "The budget of time left out depth 8 of net."
    assert len(notes(result("timing"))) == 1
