import json
import shlex
from pathlib import Path

import pytest

from torchsid import schedules
from torchsid.cli.main import main


def test_every_procedure_is_timed_at_every_depth(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "step", "--depths", "1", "2", "--rounds", "2", "--batch-size", "8", "--threads", "1"]
    assert main([*arguments, "--json", "out.json"]) == 0
    result = json.loads(Path("out.json").read_text())
    procedures = {"reference", "backprop", *schedules.names()}
    assert {(row["procedure"], row["depth"]) for row in result["rows"]} == {(p, d) for p in procedures for d in (1, 2)}
    assert result["command"] == shlex.join(["torchsid", *arguments, "--json", "out.json"])
    shown = capsys.readouterr().out
    assert all(shown.count(f"\n{name} ") == 2 for name in procedures)
    assert f"file://{Path.cwd()}/out.json" in shown


def test_a_single_round_has_no_spread(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", "--rounds", "1"]) == 2
    assert "2 or more" in capsys.readouterr().err
