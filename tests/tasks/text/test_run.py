"""A classifier of texts goes through the same commands as one of images, and padding counts in none of its stages."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.tasks.text.test_text import LABELS, TEXTS, write
from torchsid.cli.main import main
from torchsid.learners.sid import SID
from torchsid.models import CLASSIFIERS, NETWORKS


@pytest.mark.parametrize(("trunk", "setting"), [("text-encoder", "model.dropout=0"), ("kim-cnn", "model.cuts=['tokens']")])
def test_the_commands_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], trunk: str, setting: str) -> None:
    for part in ("train", "test"):
        write(tmp_path / f"trec-{part}.parquet", TEXTS, LABELS, ("text", "coarse_label"))
    run = str(tmp_path / "run")
    small = ["model.width=16", "data.length=16", "training.epochs=2", "training.batch_size=9", f"model.trunk={trunk}"]
    given = [f"data.path={tmp_path}", *small, setting]
    assert main(["train", "trec", *(f"--set={each}" for each in given), "--out", run]) == 0
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["last"]["test"]["n"] == 30
    assert main(["evaluate", run]) == 0
    assert "how many are there ?" in (tmp_path / "run" / "report.html").read_text()
    capsys.readouterr()
    asked, bad, other = (tmp_path / name for name in ("asked.jsonl", "bad.jsonl", "notes.md"))
    asked.write_text('{"text": "who was it?", "id": 1}\n{"text": "how many?", "id": 2}\n')
    bad.write_text('{"text": "who was it?"}\n{"text": " "}\n')
    other.write_text("who was it?")
    answers = tmp_path / "answers.jsonl"
    given = ["who was it?", "x" * 300, " ", *map(str, (asked, bad, other, tmp_path / "none.csv"))]
    assert main(["predict", run, *given, "--table", str(answers)]) == 2
    captured = capsys.readouterr()
    assert "who was it?" in captured.out
    assert "4 of 8 inputs cannot be read" in captured.err
    for words in (
        "an empty text has no class",
        "row 1: its text is empty",
        "is a file, but no table",
        "none.csv: there is no such file",
    ):
        assert words in captured.err
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [row["name"] for row in rows[:4]] == ["who was it?", "x" * 300, f"{asked}, row 0", f"{asked}, row 1"]
    assert [rows[0][name] for name in ("answer", "belief")] == [rows[2][name] for name in ("answer", "belief")]
    assert all(row["problem"] for row in rows[4:])


@pytest.mark.parametrize("by", ["boundary", "graph"])
@pytest.mark.parametrize(("trunk", "stages"), [("text-encoder", 2), ("text-encoder", 4), ("kim-cnn", 2)])
def test_padding_counts_in_no_stage_and_no_gradient(trunk: str, stages: int, by: Any) -> None:
    x, target = torch.randint(1, 50, (4, 9)), torch.tensor([0, 1, 2, 0])
    x[0, 0] = 50
    model = partial(CLASSIFIERS.load(trunk), width=16, dropout=0.0)
    cuts = {"cuts": ["tokens"]} if trunk == "kim-cnn" else {}
    cascade = NETWORKS.load("staged")(F.pad(x, (0, 7)), 3, trunk=model, depth=stages, by=by, **cuts)
    found = []
    for padding in (0, 5):
        cascade.zero_grad()
        SID(cascade).backward(F.pad(x, (0, padding)), target)
        gradients = [parameter.grad.clone() for parameter in cascade.parameters() if parameter.grad is not None]
        found.append([cascade.log_beliefs(F.pad(x, (0, padding))), *gradients])
    for short, padded in zip(*found, strict=True):
        torch.testing.assert_close(short, padded)
