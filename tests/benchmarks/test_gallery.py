"""The gallery in the docs says what the records say."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GALLERY = runpy.run_path(str(ROOT / "benchmarks" / "gallery.py"))
RECORDED = sorted(path.parent for path in (ROOT / "benchmarks" / "results" / "experiments").glob("*/results.json"))


def test_the_page_in_the_docs_is_the_one_that_the_records_make() -> None:
    assert (ROOT / "docs" / "gallery.md").read_text("utf-8") == GALLERY["page"](), "run python benchmarks/gallery.py"


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: folder.name)
def test_a_record_names_its_circumstances_and_no_path_of_the_machine_that_made_it(folder: Path) -> None:
    text = (folder / "results.json").read_text("utf-8")
    result = json.loads(text)
    assert result["command"].startswith("torchsid experiment ")
    assert {"versions", "hardware", "finished"} <= result.keys()
    assert not any(place in text for place in ("/tmp/", "/home/", "/work/"))
    assert list(folder.glob("*.svg"))
    assert (folder / "results.parquet").stat().st_size
