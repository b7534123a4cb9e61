"""Residual networks (arXiv 1512.03385). Names and initialisation (He, fan-out) are torchvision's: its state dicts load."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.models.images import side_of

Stem = Literal["cifar", "imagenet"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: `relu(shortcut(x) + bn2(conv2(relu(bn1(conv1(x))))))`.

    Maps `[B, channels_in, S, S]` to `[B, channels, S / stride, S / stride]`. Where the shape changes, the shortcut is a 1x1
    convolution with BatchNorm, called `downsample`; elsewhere the identity.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, channels_in: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(channels_in, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; `x` is left alone."""
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        return F.relu(branch + self.downsample(x))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones around a shortcut, which is that of `BasicBlock`.

    Maps `[B, channels_in, S, S]` to `[B, 4 * channels, S / stride, S / stride]`. The step is that of the 3x3 convolution, as in
    what is called v1.5, and not of the first, as in the paper.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, channels_in: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, self.expansion * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.expansion * channels)
        self.downsample = _shortcut(channels_in, self.expansion * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; `x` is left alone."""
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        return F.relu(branch + self.downsample(x))


class ResNet(nn.Sequential):
    """A stem, four layers of blocks, global average, linear.

    Maps images `[B, channels, S, S]` to logits `[B, num_classes]`. The blocks of layer k have `width * 2**(k - 1)` channels, times
    their `expansion` behind them; layers 2 to 4 halve the image.

    Args:
        stem: `"cifar"` for small images, a 3x3 convolution; `"imagenet"` for large ones, 7x7 of stride 2 and max-pooling.
        block: what a layer is made of.
        blocks: how many each layer has.
        width: First channels.
    """

    def __init__(
        self,
        example: Tensor,
        num_classes: int,
        stem: Stem,
        block: type[BasicBlock | Bottleneck],
        blocks: Sequence[int],
        *,
        width: int,
    ) -> None:
        side_of(example)
        kernel, stride, padding = (3, 1, 1) if stem == "cifar" else (7, 2, 3)
        convolution = nn.Conv2d(example.shape[1], width, kernel, stride, padding, bias=False)
        parts = OrderedDict[str, nn.Module](conv1=convolution, bn1=nn.BatchNorm2d(width), relu=nn.ReLU())
        if stem == "imagenet":
            parts["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
        channels_in = width
        for layer, count in enumerate(blocks, 1):
            channels = width * 2 ** (layer - 1)
            inside = [block(channels_in, channels, stride=1 if layer == 1 else 2)]
            channels_in = block.expansion * channels
            inside += [block(channels_in, channels) for _ in range(1, count)]
            parts[f"layer{layer}"] = nn.Sequential(*inside)
        parts |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(channels_in, num_classes)}
        super().__init__(parts)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out))
