"""An encoder of images and one of words, a layer that joins them, and residual blocks."""

from collections import OrderedDict
from math import isqrt, prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from torchsid.models.classifiers.mlp import MLPBlock
from torchsid.settings import Count, checked


class TwoSenses(nn.Sequential):
    """From rows of an image and the counts of V words `[B, P + V]` to logits `[B, num_classes]`.

        i = image(pixels), t = text(counts)     the encoders, one after the other; neither reads the other's sense
        h = relu(W [i, t] + b)                  `join`, then `fuse`
        h = h + block(h), …                     `blocks`, then `norm` and a linear `head`

    A belief head behind `image` or `text` reads what one sense says, behind `join` what both say, side by side; behind `fuse` and
    all that follows there is one vector of both.

    Args:
        example: a batch of such rows, zeros in place of pixels and ones in place of counts.
        num_classes: C.
        width: Width of each encoder's output.
        hidden: Width of the features of both.
        blocks: Number of residual blocks.

    Raises:
        ValueError: the example is no such batch.
    """

    task: ClassVar[str] = "pair"

    @checked
    def __init__(self, example: Tensor, num_classes: int, *, width: Count = 32, hidden: Count = 128, blocks: Count = 2) -> None:
        words = int(example[0].sum()) if example.dim() == 2 and example.is_floating_point() else 0
        pixels = example[0].numel() - words
        channels = 1 if isqrt(pixels) ** 2 == pixels else 3
        side = isqrt(pixels // channels)
        if not pixels or not words or channels * side**2 != pixels:
            what = f"a square image and the counts of words in a row, and a sample batch has shape {list(example.shape)}"
            raise ValueError(f"the network reads {what}: take task = 'pair', or another network")
        super().__init__(
            OrderedDict(
                image=ImageEncoder(channels, side, width),
                text=TextEncoder(words, width),
                join=Join(),
                fuse=nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU()),
                blocks=nn.Sequential(*(MLPBlock(hidden, depth=blocks) for _ in range(blocks))),
                norm=nn.LayerNorm(hidden),
                head=nn.Linear(hidden, num_classes),
            )
        )


class ImageEncoder(nn.Module):
    """Two 3x3 convolutions of stride 2 with ReLU, a linear layer and LayerNorm, begun with He's initialisation."""

    def __init__(self, channels: int, side: int, width: int) -> None:
        super().__init__()
        self.shape = (channels, side, side)
        layers = list[nn.Module]()
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
            channels, side = width, (side + 1) // 2
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side**2, width), nn.LayerNorm(width))
        _begin(self.layers)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the image says, `[B, width]`, and the counts `[B, V]` for whoever reads them."""
        pixels = prod(self.shape)
        counts = rows[:, pixels:]
        return self.layers(rows[:, :pixels].reshape(-1, *self.shape)), counts  # cut by graph, a head reads what was made last


class TextEncoder(nn.Module):
    """A vector a word, ReLU on their sum, a linear layer and LayerNorm, begun with He's initialisation."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(words, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width))
        _begin(self.layers)

    def forward(self, both: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what the text says, and what the image does, `[B, width]` each; of the image it reads nothing."""
        image, counts = both
        return self.layers(counts), image


class Join(nn.Module):
    """What the senses say, side by side."""

    def forward(self, both: tuple[Tensor, Tensor]) -> Tensor:
        """Return `[B, 2·width]`."""
        text, image = both
        return torch.cat([image, text], 1)


def _begin(layers: nn.Sequential) -> None:
    """Give layers with ReLU weights by which the signal neither grows nor shrinks (arXiv 1502.01852), and no bias at first."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]
