import json
from math import inf, nan
from pathlib import Path

from pyarrow import parquet

from torchsid.show.figures.against import Line, Scale, against
from torchsid.study.experiments import files
from torchsid.study.experiments.files import write_files


def test_four_kinds_of_files_and_json_without_nan(tmp_path: Path) -> None:
    drawing = against("kl", Scale.of("L", ["2", "4"], [2.0, 4.0]), [Line("SID", [])])
    written = write_files(
        tmp_path / "new" / "out",
        rows=[{"seed": 1}],
        columns={"seed": "int64"},
        summary={"mean": nan, "worst": (inf, 1.0), "n": 2},
        figures={"kl": drawing},
        page="<p>page</p>",
    )
    assert parquet.read_table(written["rows"]).to_pylist() == [{"seed": 1}]
    assert json.loads(written["summary"].read_text("utf-8")) == {"mean": None, "worst": [None, 1.0], "n": 2}
    assert written["report"].read_text("utf-8") == "<p>page</p>"
    assert (tmp_path / "new" / "out" / "kl.svg").read_text("utf-8").startswith("<svg xmlns=")


def test_numbers_that_json_lacks_become_null() -> None:
    assert files._finite({"a": [float("nan"), (1.0, float("inf"))]}) == {"a": [None, [1.0, None]]}
