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
    assert main(["predict", run, "who was it?", "x" * 300, " ", str(tmp_path / "trec-test.parquet")]) == 2
    captured = capsys.readouterr()
    assert "who was it?" in captured.out
    assert "2 of 4 inputs cannot be read" in captured.err
    assert "an empty text has no class" in captured.err
    assert "is a file: give the text itself" in captured.err


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
