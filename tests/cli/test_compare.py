import json
from pathlib import Path

import pytest

from torchsid.cli.main import main

Output = pytest.CaptureFixture[str]


def test_runs_side_by_side_with_the_difference(runs: Path, capsys: Output) -> None:
    assert main(["compare", str(runs), "--json", "out.json"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()[:3]
    assert "Difference" in header
    result = json.loads(Path("out.json").read_text())
    assert [row["method"]["runs"] for row in result["rows"]] == [[str(runs / "digits")], [str(runs / "digits-bp")]]
    evaluation = json.loads((runs / "digits-bp" / "evaluation.json").read_text())
    assert result["rows"][1]["last"]["accuracy"]["mean"] == pytest.approx(evaluation["last"]["test"]["accuracy"][-1])
    assert result["rows"][0]["difference"] is None
    assert result["rows"][1]["difference"]["n"] == evaluation["last"]["test"]["n"]
    assert [first.startswith(row["method"]["name"]) for row in result["rows"]] == [True, False]
    assert second.startswith(result["rows"][1]["method"]["name"])


def test_the_first_run_is_the_reference(runs: Path, capsys: Output) -> None:
    assert main(["compare", str(runs / "digits-bp"), str(runs), "--json", "out.json"]) == 0
    rows = json.loads(Path("out.json").read_text())["rows"]
    assert [Path(row["method"]["runs"][0]).name for row in rows] == ["digits-bp", "digits"]
