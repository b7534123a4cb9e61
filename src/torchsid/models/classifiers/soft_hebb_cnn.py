"""Three convolutions with triangle activations on normalised inputs: the network of SoftHebb."""

from collections import OrderedDict

from torch import Tensor, nn

from torchsid.models.images import side_of
from torchsid.settings import Count, checked

_LEAST = 1e-8  # whose powers below 1 have a gradient


class Triangle(nn.Module):
    """`max(u − mean over the channels, 0)` to a power: `[B, n, ...]` to the same shape."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, u: Tensor) -> Tensor:
        """Return the activity."""
        activity: Tensor = (u - u.mean(1, keepdim=True)).clamp(min=_LEAST) ** self.power
        return activity


@checked
def soft_hebb_cnn(example: Tensor, num_classes: int, *, width: Count = 96) -> nn.Sequential:
    """Return three convolutions and a linear `head`: images `[B, C, S, S]` to logits `[B, num_classes]`.

    Before each convolution, of 5, 3 and 3 pixels with w, 4w and 16w channels (w = width) and no bias, stands a BatchNorm without
    parameters; behind it `Triangle` with the powers 0.7, 1.4 and 1, and pooling to half the side. From A. Journé et al., ICLR 2023.

    Args:
        example: a batch of images, of 8 pixels a side or more.
        num_classes: C.
        width: First channels.
    """
    side, channels, parts = side_of(example, least=8), example.shape[1], OrderedDict[str, nn.Module]()
    for i, (size, times, power) in enumerate(((5, 1, 0.7), (3, 4, 1.4), (3, 16, 1.0)), 1):
        parts |= {f"norm_{i}": nn.BatchNorm2d(channels, affine=False)}
        parts |= {f"conv_{i}": nn.Conv2d(channels, channels := times * width, size, padding=size // 2, bias=False)}
        parts |= {f"triangle_{i}": Triangle(power), f"pool_{i}": nn.MaxPool2d(4, 2, 1) if i < 3 else nn.AvgPool2d(2)}
    head = nn.Linear(channels * (side // 8) ** 2, num_classes)
    return nn.Sequential(parts | {"flatten": nn.Flatten(), "head": head})
