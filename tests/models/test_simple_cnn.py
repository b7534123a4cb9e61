import pytest
import torch
from torch import nn

from torchsid.models.simple_cnn import SimpleCNN, SimpleCNNClassifier


def test_it_is_the_papers_extractor() -> None:
    layers = list(SimpleCNN(in_channels=3, image_size=32, feature_dim=128))
    convolutions = [(m.in_channels, m.out_channels, m.kernel_size, m.padding) for m in layers if isinstance(m, nn.Conv2d)]
    assert convolutions == [(a, b, (3, 3), (1, 1)) for a, b in [(3, 32), (32, 64), (64, 128), (128, 128)]]
    expected = "Conv2d ReLU Conv2d ReLU MaxPool2d Conv2d ReLU Conv2d ReLU MaxPool2d AdaptiveAvgPool2d Flatten Linear"
    assert [type(layer).__name__ for layer in layers] == expected.split()


def test_images_too_small_for_two_poolings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image_size=3: two poolings by 2 need images of 4 pixels or more; use the 'mlp'"):
        SimpleCNN(in_channels=1, image_size=3)


def test_the_classifier_is_the_extractor_and_a_linear_layer() -> None:
    torch.manual_seed(0)
    classifier = SimpleCNNClassifier(num_classes=10, in_channels=3, image_size=32, width=20)
    torch.manual_seed(0)
    extractor = SimpleCNN(in_channels=3, image_size=32, feature_dim=20)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(classifier(x), classifier.head(extractor(x)))
    assert classifier.head.out_features == 10
