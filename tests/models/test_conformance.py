"""Every extractor keeps the contract of `models.create`."""

import pytest
import torch
from torch import nn

from torchsid import SID, models, shared_cascade

every_extractor = pytest.mark.parametrize("name", models.names())


def build(name: str, *, channels: int = 1, size: int = 8, feature_dim: int = 12) -> nn.Module:
    return models.create(name, in_channels=channels, image_size=size, feature_dim=feature_dim)


@pytest.mark.parametrize(("channels", "size", "feature_dim"), [(1, 8, 1), (3, 28, 12), (1, 32, 128)])
@every_extractor
def test_images_become_features_of_the_declared_width(name: str, channels: int, size: int, feature_dim: int) -> None:
    extractor = build(name, channels=channels, size=size, feature_dim=feature_dim)
    features = extractor(torch.randn(2, channels, size, size))
    assert features.shape == (2, feature_dim)
    assert extractor.feature_dim == feature_dim
    assert torch.isfinite(features).all()


@every_extractor
def test_the_input_is_left_alone_and_samples_do_not_see_each_other(name: str) -> None:
    x = torch.randn(4, 1, 8, 8)
    before, extractor = x.clone(), build(name).eval()
    torch.testing.assert_close(extractor(x)[1:2], extractor(x[1:2]))
    assert torch.equal(x, before)


@every_extractor
def test_sid_trains_every_parameter(name: str) -> None:
    cascade = shared_cascade(build(name), 3, 2)
    assert torch.isfinite(SID(cascade).backward(torch.randn(16, 1, 8, 8), torch.arange(16) % 3).loss)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in cascade.parameters())
