"""The script behind the recorded figures of `torchsid audit` and of early exit still runs."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "audit.py"


def test_it_writes_both_results_with_their_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--networks", "SID", "--seeds", "1", "--epochs", "1", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    audit, anytime = (json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("audit", "anytime"))
    assert [row["noise"] for row in audit["rows"]] == [0.2, 0.4]
    assert [row["noise"] for row in anytime["rows"]] == [0.0, 0.2, 0.4]
    measured, summary = audit["rows"][0]["measured"], audit["summary"][0]
    assert summary["rankings/margin over stages/auroc"]["mean"] == measured["rankings"]["margin over stages"]["auroc"]
    assert len(anytime["rows"][0]["measured"]["points"]) == 7
    assert audit["provenance"]["versions"]["torch"]
    assert str(tmp_path) not in json.dumps([audit, anytime])
