import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pyarrow import parquet
from tests.study.experiments.costs.samples import memory_result, timing_result

from torchsid.study.experiments.costs import record
from torchsid.study.experiments.costs.result import Result


@pytest.mark.parametrize(("new", "figures"), [(timing_result, 3), (memory_result, 2)])
def test_rows_summary_figures_and_page_are_written(new: Callable[[], Result], figures: int, tmp_path: Path) -> None:
    result = new()
    files = record.write(result, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.svg"))) == figures
    found = json.loads(files["summary"].read_text())
    assert found["experiment"]["question"] == result.experiment.question
    assert (found["experiment"]["claim"], found["experiment"]["size"]) == ("", "small")
    assert found["verdict"] == record.verdict(result)
    assert (found["versions"], found["hardware"]["cores"], found["git"]) == ({"torch": "2"}, 2, None)
    assert found["finished"].startswith("2026-01-01")
    assert len(found["rows"]) == len(result.timing) + len(result.memory)
    assert parquet.read_table(files["rows"]).num_rows == len(list(record.tidy(result)))
    page = files["report"].read_text()
    ElementTree.fromstring(page[page.index("<body>") : page.index("</html>")])
    assert page.count("<svg") == figures
    assert f"<h1>{result.experiment.question}</h1>" in page
    assert "not in a git repository" in page
    assert not re.search(r"<script|src=|href=\"http|@import", page)


def test_tidy_rows_of_timing_have_a_quantity_each() -> None:
    rows = [row for row in record.tidy(timing_result()) if row["contender"] == "SID, two-phase"]
    assert [row["quantity"] for row in rows].count("share") == 4
    (serial,) = [row for row in rows if row["quantity"] == "serial share"]
    assert (serial["median"], serial["of"]) == (0.5, None)
    assert {row["of"] for row in rows if row["quantity"] == "bound"} == {"2 workers", "4 workers"}


def test_what_was_left_out_is_said_first() -> None:
    assert record.notes(memory_result("depth 8 of net"))[0] == "The budget of time left out depth 8 of net."
    assert "no intervals" in record.notes(memory_result())[0]
    assert "pipeline" in " ".join(record.notes(timing_result()))
