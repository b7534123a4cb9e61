"""Pairs go through the same commands as images; a head before the senses meet is told nothing."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from torchsid.cli.main import main
from torchsid.learners.sid import SID
from torchsid.models import CLASSIFIERS, NETWORKS

SMALL = [
    "--set=training.epochs=2",
    "--set=data.validation=0.2",
    "--set=model.hidden=16",
    "--set=model.width=8",
    "--set=model.head_hidden=8",
]


def test_the_commands_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, picture = tmp_path / "run", tmp_path / "digit.png"
    assert main(["train", "pair-mixed", *SMALL, "--out", str(run)]) == 0
    whole = json.loads((run / "evaluation.json").read_text())
    assert whole["floor"]["name"] == "better sense alone"
    page = (run / "report.html").read_text()
    assert "better sense alone" in page
    assert "<br><code>" in page
    Image.new("L", (12, 12), 90).save(picture)
    capsys.readouterr()
    assert (
        main(["predict", str(run), f"{picture} | is it greater than two ?", f"{picture} |", "| more than two", str(picture)]) == 2
    )
    captured = capsys.readouterr()
    assert captured.out.count("stage 3") >= 3
    assert "1 of 4 inputs cannot be read" in captured.err
    found = {}
    for missing in ("none", "image", "text"):
        file = tmp_path / f"{missing}.json"
        assert main(["evaluate", str(run), "--weights", "last", "--set", f"data.missing={missing}", "--json", str(file)]) == 0
        found[missing] = json.loads(file.read_text())
    assert found["none"]["accuracy"] == whole["last"]["test"]["accuracy"]
    assert found["image"]["floor"]["scores"]["test"]["accuracy"] == pytest.approx(6.5 / 9)
    assert len({round(each["kl"][-1], 6) for each in found.values()}) == 3
    capsys.readouterr()
    assert main(["evaluate", str(run), "--set", "training.epochs=3", "--set", "data.missing=none"]) == 2
    assert "training.epochs=3: only settings of data can be changed here" in capsys.readouterr().err


@pytest.mark.parametrize("by", ["boundary", "graph"])
def test_a_head_on_one_sense_reads_no_other_and_its_loss_reaches_no_other(by: str) -> None:
    torch.manual_seed(0)
    example = torch.cat([torch.zeros(2, 3 * 25), torch.ones(2, 7)], 1)
    trunk = CLASSIFIERS.load("two-senses")
    cascade = NETWORKS.load("staged")(example, 4, trunk=trunk, depth=4, cuts=["image", "text", "fuse"], by=by, head="linear")
    x = torch.rand(6, 82)
    first, second, *_ = cascade.log_beliefs(x)[1:]
    x[:, 75:] += 1
    other_text = cascade.log_beliefs(x)[1:]
    torch.testing.assert_close(other_text[0], first)
    assert not torch.allclose(other_text[1], second)
    learner = SID(cascade, alpha=1.0)
    learner.backward(x, torch.arange(6) % 4)
    assert all(parameter.grad is not None for parameter in cascade.parameters())
    assert cascade.plan is not None
    assert [stage.features for stage in cascade.plan.stages[:3]] == [(32,), (32,), (128,)]
