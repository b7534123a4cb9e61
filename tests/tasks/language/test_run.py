"""A language model goes through the same commands as a classifier of images."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from torchsid.cli.main import main
from torchsid.training import resolve, train
from torchsid.training.reporter import Reporter
from torchsid.training.session import Interrupted

TEXT = "She sells sea shells by the sea shore; the shells she sells are surely sea shells.\n" * 30


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    (tmp_path / "text.txt").write_text(TEXT)
    sizes = ["model.width=16", "model.blocks=2", "model.depth=2", "data.context=16", "training.epochs=3", "training.batch_size=16"]
    return [f"data.path={tmp_path / 'text.txt'}", f"data.cache={tmp_path / 'cache'}", *sizes]


def test_the_commands_take_it(tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", "shakespeare", *(f"--set={each}" for each in settings), "--out", str(run)]) == 0
    whole = json.loads((run / "evaluation.json").read_text())
    evaluation, floor = whole["last"]["test"], whole["floor"]
    assert floor["scores"]["test"]["kl"] < evaluation["kl"][-1]  # of a text that says the same again and again
    assert f"is worse than the {floor['scores']['test']['kl']:.4f} of the {floor['name']}" in capsys.readouterr().out
    assert evaluation["n"] == round(0.1 * len(TEXT)) - 1
    assert evaluation["kl"][-1] < evaluation["kl"][0]  # than the prior
    assert main(["evaluate", str(run), "--weights", "last", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["scores"], found["floor"]) == (evaluation["scores"], floor)
    table = capsys.readouterr().out.splitlines()
    assert "bits a byte" in table[0]
    assert [line.split()[0] for line in table[1:5]] == ["prior", "stage", "stage", floor["name"]]
    _continue(run, tmp_path, capsys)
    rule = ["--weights", "last", "--exit-when", "entropy<0", "--json", str(tmp_path / "found.json")]
    assert main(["evaluate", str(run), *rule]) == 0
    early = json.loads((tmp_path / "found.json").read_text())["early_exit"]
    assert (early["n"], early["average_depth"]) == (evaluation["n"], 2)
    assert early["kl"] == pytest.approx(evaluation["kl"][-1], rel=1e-5)
    assert main(["evaluate", str(run), "--exit-curve"]) == 2
    assert "measure one rule, with --exit-when" in capsys.readouterr().err
    assert main(["certify", str(run), "--split", "test"]) == 0
    page = (run / "report.html").read_text()  # of the training
    passage = "".join(re.findall(r'<th scope="col">(.)</th>', page.partition('<table class="passage">')[2])).replace("␣", " ")
    assert passage[:16].replace("⏎", "\n") in TEXT
    assert f"<span>{floor['name']}</span>" in page


def _continue(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Texts are continued; by a rule, with the stage of every token below it."""
    words = ["predict", str(run), "She sells sea shells", "by", "--tokens", "12"]
    assert main([*words, "--json", str(tmp_path / "a.json"), "--table", str(tmp_path / "a.csv")]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    long, short = (found := json.loads((tmp_path / "a.json").read_text()))["continuations"]
    assert first == "She sells sea shells" + long["continuation"].partition("\n")[0]
    assert "".join(token["text"] for token in short["tokens"]) == short["continuation"]
    assert len(short["continuation"]) == len(short["tokens"]) == found["settings"]["tokens"] == 12
    assert (tmp_path / "a.csv").read_text().startswith("name,continuation,tokens,average stage,operations,problem\n")
    assert main([*words, "--temperature", "0", "--exit-when", "confidence>0"]) == 0
    text, marks, *_ = capsys.readouterr().out.splitlines()
    assert marks == " " * len("She sells sea shells") + "1" * (len(text) - len("She sells sea shells"))
    for bad, told in (
        (["she says ß", ""], ("2 of 2 inputs", "'ß'", "an empty text")),
        ([str(tmp_path / "text.txt")], ("is a file: give the text",)),
        (["by", "--top", "2"], ("--top 2", "continues texts")),
    ):
        assert main(["predict", str(run), *bad]) == 2
        error = capsys.readouterr().err
        assert all(each in error for each in told)


class Interrupting(Reporter):
    """Asks the run to stop at its first sign of life."""

    def step(self, *about: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path, settings: list[str]) -> None:
    config, run = resolve("shakespeare", settings), tmp_path / "run"
    with pytest.raises(Interrupted):
        train(config, run, reporter=Interrupting())
    train(config, run, resume=True)
    whole = train(config, tmp_path / "whole")
    assert (run / "checkpoints" / "last" / "model.safetensors").read_bytes() == (
        whole / "checkpoints" / "last" / "model.safetensors"
    ).read_bytes()
