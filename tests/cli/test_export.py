"""`torchsid export`: what is written answers as the network does, wherever it runs, and stops as early."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from torchsid.anytime import EarlyExit
from torchsid.cli.main import main
from torchsid.core.cascade import Cascade
from torchsid.training import load_network

Output = pytest.CaptureFixture[str]
Trained = Callable[..., Path]


def command(*words: object) -> int:
    return main(["export", *map(str, words)])


def inputs_of(run: Path) -> torch.Tensor:
    return load_file(run / "samples.safetensors")["inputs"][:5]


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_an_onnx_file_prepares_its_inputs_takes_any_batch_and_says_what_it_is(trained: Trained, tmp_path: Path) -> None:
    run = trained("digits-staged")
    assert command(run, "--out", tmp_path / "files") == 0
    (path,) = (tmp_path / "files").iterdir()
    network, inputs, served = load_network(run), inputs_of(run), session(path)
    for part in (inputs, inputs[:1]):
        (found,) = served.run(None, {"input_0": part.numpy()})
        assert np.allclose(np.exp(found), network.learner.log_beliefs(network.prepare(part))[-1].exp(), atol=1e-5)
    about = json.loads(served.get_modelmeta().custom_metadata_map["torchsid"])
    assert about["class_names"] == [str(digit) for digit in range(10)]
    assert about["inputs"] == {"shape": ["batch", *inputs.shape[1:]], "dtype": "uint8"}
    assert about["inputs_are"] == "as the data set stores them"


@pytest.mark.parametrize("recipe", ["digits-staged", "digits"])
def test_the_driver_of_exported_stages_stops_where_predict_does(recipe: str, trained: Trained, tmp_path: Path) -> None:
    run, folder = trained(recipe), tmp_path / "files"
    assert command(run, "--exits", "--out", folder) == 0
    network, inputs = load_network(run), inputs_of(run)
    assert isinstance(network.learner.module, Cascade)
    first = network.learner.log_beliefs(network.prepare(inputs))[1].max(-1).values.exp()
    threshold = float(first.median())  # so that some leave at once, and some do not
    expected = EarlyExit(network.learner.module, f"confidence>{threshold}")(network.prepare(inputs))
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    words = [sys.executable, folder / "cascade.py", tmp_path / "inputs.npy", "--exit-when", str(threshold)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line) for line in said.splitlines()]
    assert [row["stage"] for row in rows] == expected.depth.tolist()
    assert len({row["stage"] for row in rows}) > 1
    assert [int(row["answer"]) for row in rows] == expected.log_belief.argmax(-1).tolist()
    assert [row["probability"] for row in rows] == pytest.approx(expected.log_belief.max(-1).values.exp().tolist(), abs=1e-5)


def test_fewer_stages_make_a_smaller_file_and_the_price_is_said(trained: Trained, tmp_path: Path, capsys: Output) -> None:
    run = trained("digits-staged")
    for name, words in {"all": (), "one": ("--stages", "1"), "half": ("--stages", "1", "--half")}.items():
        assert command(run, "--to", "torch-export", "--out", tmp_path / name, *words) == 0
    shown = capsys.readouterr().out
    assert "after stage 1," in shown
    network, inputs = load_network(run), inputs_of(run)
    expected = network.learner.log_beliefs(network.prepare(inputs))[1:].exp()
    for name, stage, tolerance in (("all", -1, 1e-6), ("one", 0, 1e-6), ("half", 0, 2e-2)):
        program = torch.export.load(tmp_path / name / "model.pt2").module()
        assert torch.allclose(program(inputs)[0].exp().float(), expected[stage], atol=tolerance)
    whole, one, half = ((tmp_path / name / "model.pt2").stat().st_size for name in ("all", "one", "half"))
    assert half < 0.7 * one
    assert one < 0.8 * whole


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(trained: Trained, tmp_path: Path, capsys: Output) -> None:
    plain, cut = trained("digits-bp-plain"), trained("digits-staged")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("pass")
    for words, told in {
        (plain, "--exits", "--to", "tflite", "--out", tmp_path / "x"): "to = 'tflite': allowed is onnx or torch-export",
        (plain, "--exits", "--out", tmp_path / "x"): "exits: the network has no stages, leave it out",
        (cut, "--stages", "9", "--out", tmp_path / "x"): "stages = 9: give 1 to 2",
        (cut, "--out", tmp_path / "mine"): "holds other things",
        (cut, "--out", tmp_path / "code"): "holds other things",
        (tmp_path / "nothing",): "is no directory",
    }.items():
        assert command(*words) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    assert (tmp_path / "code" / "train.py").read_text() == "pass"
