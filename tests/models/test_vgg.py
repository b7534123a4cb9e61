import torch

from torchsid.models.classifiers.vgg_11 import VGG11

IMAGES = torch.empty(2, 3, 32, 32)


def test_the_signal_keeps_its_size_through_the_features() -> None:
    features = VGG11(IMAGES, 10, width=16).features(torch.randn(64, 3, 32, 32))
    assert features.shape == (64, 128, 1, 1)
    assert 0.3 < features.square().mean().sqrt() < 3
