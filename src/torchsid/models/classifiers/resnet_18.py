"""ResNet-18 for small images: 3x3 stem, no pooling."""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.models.images import side_of
from torchsid.settings import Count, checked


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: `relu(shortcut(x) + bn2(conv2(relu(bn1(conv1(x))))))`.

    Maps `[B, channels_in, S, S]` to `[B, channels_out, S / stride, S / stride]`. Where the shape changes, the shortcut is a 1x1
    convolution with BatchNorm, called `downsample`; elsewhere the identity.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the output.
        stride: step of the first convolution.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; `x` is left alone."""
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        return F.relu(branch + self.downsample(x))


class ResNet18(nn.Sequential):
    """ResNet-18 (arXiv 1512.03385): a stem, four layers of two `BasicBlock`s, global average, linear.

    Maps images `[B, channels, S, S]` to logits `[B, num_classes]`. Layer k has `width * 2**(k - 1)` channels; layers 2 to 4
    halve the image. Names and initialisation (He, fan-out) are torchvision's: its state dict loads into `stem="imagenet"` at
    width 64.

    | stem | first layers | parameters | multiply-adds |
    | --- | --- | --- | --- |
    | `cifar` | 3x3 convolution, stride 1 | 11,173,962 (10 classes) | 0.56 G at 32 pixels |
    | `imagenet` | 7x7 convolution, stride 2; 3x3 max-pool, stride 2 | 11,689,512 (1000 classes) | 1.81 G at 224 pixels |

    Published accuracy with backpropagation: CIFAR-10 94.9 % in 200 epochs, 95.6 % in 1200; CIFAR-100 76.4 % and 78.6 %;
    Tiny-ImageNet 61.7 %.

    Args:
        example: a batch of images.
        num_classes: C.
        stem: `"cifar"` for small images, `"imagenet"` for large ones.
        width: First channels.
    """

    @checked
    def __init__(
        self, example: Tensor, num_classes: int, stem: Literal["cifar", "imagenet"] = "cifar", *, width: Count = 64
    ) -> None:
        side_of(example)
        kernel, stride, padding = (3, 1, 1) if stem == "cifar" else (7, 2, 3)
        convolution = nn.Conv2d(example.shape[1], width, kernel, stride, padding, bias=False)
        parts = OrderedDict[str, nn.Module](conv1=convolution, bn1=nn.BatchNorm2d(width), relu=nn.ReLU())
        if stem == "imagenet":
            parts["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
        for layer, channels in enumerate((width, 2 * width, 4 * width, 8 * width), 1):
            first = BasicBlock(max(channels // 2, width), channels, stride=1 if layer == 1 else 2)
            parts[f"layer{layer}"] = nn.Sequential(first, BasicBlock(channels, channels))
        parts |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(8 * width, num_classes)}
        super().__init__(parts)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
