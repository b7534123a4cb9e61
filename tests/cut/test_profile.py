import pytest
import torch
from torch import nn

from tests.networks import assert_untouched, snapshot
from torchsid.cut.profile import profile
from torchsid.errors import CutError

from .classifiers import classifier, images
from .toys import CLASSES, Chain, LongSkip, Tied, X


def at(model: nn.Module, name: str) -> int:
    return next(exit_.index for exit_ in profile(model, X).exits if exit_.name == name)


@pytest.mark.parametrize("name", ["resnet-18", "vit with dropout"])
def test_the_model_is_left_as_it_was(name: str) -> None:
    model = classifier(name).eval()
    before = snapshot(model)
    profile(model, images(name)[0])
    assert_untouched(model, before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_multiply_adds_of_linear_layers() -> None:
    found, model = profile(Chain(), X), Chain()
    assert found.operations(-1, at(model, "a")) == 4 * 8
    assert found.operations(at(model, "a"), at(model, "c")) == 2 * 8 * 8
    assert found.operations(-1, found.exits[-1].index) == 4 * 8 + 2 * 8 * 8 + 8 * CLASSES


def test_multiply_adds_of_a_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 36, 5))
    found = profile(model, torch.randn(2, 3, 6, 6))
    assert found.operations(-1, found.exits[0].index) == 3 * 8 * 9 * 36


def test_kept_bytes_are_those_that_autograd_saves() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5))
    found = profile(model, X)
    assert found.kept_bytes(-1, 1) == 4 * (4 + 8)  # the input, and what ReLU gives
    assert found.kept_bytes(1, 3) == 4 * (8 + 8)  # what crosses counts in both stages
    assert found.kept_bytes(-1, found.exits[-1].index) == 4 * (4 + 8 + 8)


def test_every_parameter_belongs_to_where_it_is_used_first() -> None:
    model = Tied()
    found = profile(model, X)
    assert found.parameters(-1, at(model, "a")) == ["a.weight", "a.bias"]
    assert set(found.parameters(at(model, "a"), at(model, "c"))) == {"b.weight", "b.bias", "c.bias"}


def test_a_frozen_parameter_is_nobodys() -> None:
    model = Chain()
    model.b.requires_grad_(False)
    assert not any(name.startswith("b.") for name in profile(model, X).uses)


def test_what_crosses_is_named() -> None:
    found = profile(LongSkip(), X)
    crossing = {exit_.name: found.crossing(exit_) for exit_ in found.exits}
    assert crossing == {"a": [], "b": ["ReluBackward0"], "c": ["ReluBackward0"], "d": [], "": []}


def test_what_works_in_place_behind_a_module_is_no_skip() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(inplace=True), nn.Linear(8, 5))
    found = profile(model, X)
    assert [found.crossing(exit_) for exit_ in found.exits] == [[]] * 5


def test_nothing_to_train() -> None:
    for model in (Chain().requires_grad_(False), nn.Identity()):
        with pytest.raises(CutError, match="no parameter of the model requires a gradient"):
            profile(model, X)


def test_what_is_no_classifier() -> None:
    with pytest.raises(ValueError, match=r"^the model returns Tensor of shape \[3\]"):
        profile(nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), torch.zeros(3, 4))


def test_an_example_prepared_without_gradients_will_do() -> None:
    with torch.no_grad():
        assert profile(Chain(), X).exits[-1].returns is not None
