"""Eight residual blocks of two linear layers on the flattened input."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.models.images import size_of
from torchsid.settings import Count, checked


class MLPBlock(nn.Module):
    """`x + linear2(relu(linear1(norm(x))))` on features `[..., width]`.

    Initialisation: with He's for `linear1` and variance `1 / (width * depth)` for `linear2`, the branch adds variance `1 / depth`,
    so that the network's `depth` blocks add 1 in all and neither the signal nor its gradient grows with depth (as in GPT-2).
    """

    def __init__(self, width: int, *, depth: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, width)
        nn.init.kaiming_normal_(self.linear1.weight, nonlinearity="relu")
        nn.init.normal_(self.linear2.weight, std=(width * depth) ** -0.5)
        nn.init.zeros_(self.linear1.bias)
        nn.init.zeros_(self.linear2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; `x` is left alone."""
        branch: Tensor = self.linear2(F.relu(self.linear1(self.norm(x))))
        return x + branch


class MLP(nn.Sequential):
    """Flatten, linear `stem`, `depth` residual blocks, LayerNorm, linear `head`.

    Maps images, or rows of a table, `[B, ...]` to logits `[B, num_classes]`. The blocks are those of the ResNet of arXiv
    2106.11959 with LayerNorm in place of BatchNorm. 1,846,538 parameters (10 classes, 32 pixels in colour, width 256, depth 8), of
    which 132,096 a block; as many multiply-adds an image, less the biases and norms.

    Args:
        depth: number of blocks; hundreds are fine.
        width: Width of the features.
    """

    @checked
    def __init__(self, example: Tensor, num_classes: int, depth: int = 8, *, width: Count = 256) -> None:
        stem = nn.Linear(size_of(example), width)
        nn.init.kaiming_normal_(stem.weight, nonlinearity="linear")
        nn.init.zeros_(stem.bias)
        blocks = nn.Sequential(*(MLPBlock(width, depth=depth) for _ in range(depth)))
        parts = {"flatten": nn.Flatten(), "stem": stem, "blocks": blocks, "norm": nn.LayerNorm(width)}
        super().__init__(OrderedDict(parts, head=nn.Linear(width, num_classes)))
