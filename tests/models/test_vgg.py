import torch
from torch import nn

from torchsid.models.vgg import VGG11

CONVOLUTIONS = [0, 4, 8, 11, 15, 18, 22, 25]  # in torchvision's vgg11_bn; BatchNorm follows each


def test_names_are_torchvisions() -> None:
    keys = []
    for number in CONVOLUTIONS:
        keys += [f"features.{number}.weight", f"features.{number}.bias"]
        keys += [f"features.{number + 1}.{key}" for key in ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]]
    assert list(VGG11(num_classes=10, width=4).state_dict()) == [*keys, "classifier.weight", "classifier.bias"]


def test_torchvision_features_fit() -> None:
    features = VGG11(num_classes=10).features
    channels = [(m.in_channels, m.out_channels) for m in features.modules() if isinstance(m, nn.Conv2d)]
    assert channels == [(3, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 512), (512, 512)]
    assert [number for number, module in features.named_children() if isinstance(module, nn.MaxPool2d)] == [
        "3",
        "7",
        "14",
        "21",
        "28",
    ]
    classifier_of_torchvision = (512 * 49 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert sum(parameter.numel() for parameter in features.parameters()) == 132_868_840 - classifier_of_torchvision


def test_the_signal_keeps_its_size_through_the_features() -> None:
    torch.manual_seed(0)
    features = VGG11(num_classes=10, width=16).features(torch.randn(64, 3, 32, 32))
    assert features.shape == (64, 128, 1, 1)
    assert 0.3 < features.square().mean().sqrt() < 3
