"""Every extractor keeps the contract of `models.create`."""

import pytest
import torch
from torch import nn

from torchsid import SID, models, shared_cascade

every_model = pytest.mark.parametrize("name", models.names())


def build(name: str, *, channels: int = 1, size: int = 8, feature_dim: int = 12) -> nn.Module:
    return models.create(name, in_channels=channels, image_size=size, feature_dim=feature_dim)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 32])
@every_model
def test_images_become_features(name: str, size: int, channels: int) -> None:
    features = build(name, channels=channels, size=size)(torch.randn(2, channels, size, size))
    assert features.shape == (2, 12)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("feature_dim", [1, 128])
@every_model
def test_the_width_is_declared(name: str, feature_dim: int) -> None:
    extractor = build(name, feature_dim=feature_dim)
    assert extractor.feature_dim == feature_dim
    assert shared_cascade(extractor, 3, 1).stages[0].head.hidden.in_features == 3 + feature_dim


@every_model
def test_every_parameter_learns(name: str) -> None:
    extractor = build(name)
    extractor(torch.randn(16, 1, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in extractor.parameters())


@every_model
def test_the_input_is_left_alone(name: str) -> None:
    x = torch.randn(2, 1, 8, 8)
    before = x.clone()
    build(name)(x)
    assert torch.equal(x, before)


@every_model
def test_samples_do_not_see_each_other(name: str) -> None:
    x = torch.randn(4, 1, 8, 8)
    extractor = build(name).eval()
    torch.testing.assert_close(extractor(x)[1:2], extractor(x[1:2]))


@every_model
def test_sid_trains_it(name: str) -> None:
    cascade = shared_cascade(build(name), 3, 2)
    output = SID(cascade).backward(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]))
    assert torch.isfinite(output.loss)
    assert all(parameter.grad is not None for parameter in cascade.parameters())


@every_model
def test_it_has_a_description(name: str) -> None:
    assert models.DESCRIPTIONS[name]
