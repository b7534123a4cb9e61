"""Networks in memory, of whatever loop, are written for other runtimes and stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import torchsid
from torchsid.anytime import EarlyExit
from torchsid.core.answering import AnsweringLayers
from torchsid.core.cascade import Cascade
from torchsid.errors import ConfigError, ExportError
from torchsid.export import export_network
from torchsid.export.driver import Cascade as Driver

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(-1)


def trained(kind: str, dtype: torch.dtype = torch.float32) -> Cascade:
    """A cascade after a few steps of an own loop, in training mode."""
    torch.manual_seed(0)
    if kind == "staged":
        layers = (nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3))
        cascade: Cascade = torchsid.staged_cascade(nn.Sequential(*layers), 3, 2, X[:2], head="linear", max_head_share=9.0)
    else:
        extractor = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh())
        cascade = torchsid.shared_cascade(extractor, num_classes=3, depth=3, feature_dim=16)
    cascade.to(dtype)
    learner = torchsid.SID(cascade)
    optimizer = torch.optim.Adam(cascade.parameters(), lr=1e-2)
    for _ in range(20):
        learner.backward(X.to(dtype), Y)
        optimizer.step()
        optimizer.zero_grad()
    return cascade


@contextmanager
def left_alone(cascade: Cascade) -> Iterator[None]:
    """Nothing of a cascade that is being trained changes."""
    before = {name: tensor.clone() for name, tensor in cascade.state_dict().items()}
    yield
    assert cascade.training
    assert all(parameter.requires_grad for parameter in cascade.parameters())
    torch.testing.assert_close(dict(cascade.state_dict()), before, atol=0, rtol=0)


def test_a_cascade_of_an_own_loop_answers_the_same_elsewhere(tmp_path: Path) -> None:
    cascade = trained("shared")
    with left_alone(cascade):
        found = export_network(cascade, X[:1], tmp_path / "out")
    assert found.difference < 1e-5
    (answers,) = onnxruntime.InferenceSession(found.paths[0]).run(None, {"input_0": X.numpy()})
    with torch.no_grad():
        assert np.allclose(np.exp(answers), cascade.eval().log_beliefs(X)[-1].exp(), atol=1e-5)


def test_its_stages_stop_as_early_as_early_exit_does(tmp_path: Path) -> None:
    cascade = trained("staged")
    with left_alone(cascade):
        export_network(cascade, X[:1], tmp_path / "out", exits=True, class_names=["a", "b", "c"])
    driver = Driver(tmp_path / "out")
    assert driver.about["class_names"] == ["a", "b", "c"]
    with torch.no_grad():
        threshold = float(cascade.eval().log_beliefs(X)[1].max(-1).values.exp().median())
    expected = EarlyExit(cascade, f"confidence>{threshold}")(X)
    answers, depth = driver(X.numpy(), threshold)
    assert depth.tolist() == expected.depth.tolist()
    assert set(depth) == {1, 2}
    assert np.allclose(answers, expected.log_belief.exp(), atol=1e-5)


def test_what_prepares_the_inputs_and_what_is_known_of_them_travel_along(tmp_path: Path) -> None:
    network, raw = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.randint(256, (5, 1, 2, 2), dtype=torch.uint8)
    (path,) = export_network(
        network, raw, tmp_path / "out", to="torch-export", prepare=lambda pixels: pixels.float() / 255, about={"unit": "pixels"}
    ).paths
    extra = {"torchsid": ""}
    program = torch.export.load(path, extra_files=extra).module()
    with torch.no_grad():
        torch.testing.assert_close(program(raw)[0], network(raw.float() / 255).log_softmax(-1))
    assert '"unit": "pixels"' in extra["torchsid"]
    assert '"class_names": ["0", "1", "2"]' in extra["torchsid"]


def test_half_and_fewer_stages(tmp_path: Path) -> None:
    cascade = trained("staged", torch.float64)
    found = export_network(cascade, X[:4].double(), tmp_path / "out", to="torch-export", stages=1, half=True)
    assert found.stage == 1
    assert next(cascade.parameters()).dtype == torch.float64
    (answer,) = torch.export.load(found.paths[0]).module()(X.double())
    with torch.no_grad():
        assert torch.allclose(answer.exp().double(), cascade.eval().log_beliefs(X.double())[1].exp(), atol=2e-2)


def test_what_does_not_fit_is_said_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)4 problems.*tflite.*example: give a tensor.*no stages.*give 1 to 1"):
        export_network(nn.Linear(8, 3), X[:0], tmp_path / "out", to="tflite", exits=True, stages=2)
    layers = AnsweringLayers([nn.Linear(8, 8), nn.Linear(8, 8)], [nn.Linear(8, 3), nn.Linear(8, 3)], 3)
    with pytest.raises(ExportError, match="cannot be told apart"):
        export_network(layers, X[:2], tmp_path / "out", exits=True)
    assert not (tmp_path / "out").exists()
