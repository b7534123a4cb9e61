"""Heads that were tried beside the thin one, for `cifar10-heads.toml`; choose them with PYTHONPATH=benchmarks/accuracy."""

from collections.abc import Iterable
from copy import deepcopy
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.heads.thin import ResidualBlock, ThinBody


class Deep(ThinBody):
    """A thin head with further blocks, or without all but the last.

    Args:
        blocks: How many blocks there are for each change of shape; 0 keeps the last alone.
    """

    reads: ClassVar[tuple[int, ...]] = (4,)

    def __init__(self, example: Tensor, later: Iterable[nn.Module] = (), *, blocks: int = 2, width: float = 0.33) -> None:
        super().__init__(example, later, width=width)
        layers: list[nn.Module] = list(self.layers)
        if blocks:
            further = lambda layer: [ResidualBlock(_width(layer), _width(layer), 1) for _ in range(blocks - 1)]  # noqa: E731
            layers = [each for layer in layers for each in (layer, *(further(layer) if isinstance(layer, ResidualBlock) else ()))]
        else:
            *entry, last = [layer for layer in layers if not isinstance(layer, ResidualBlock)] + layers[-1:]
            stride = 2 ** (len(layers) - len(entry) - 1)
            layers = [*entry, ResidualBlock(entry[0].out_channels, _width(last), stride)]
        self.layers = nn.Sequential(*layers)


class Quarters(ThinBody):
    """A thin head that keeps the quarters of the last map apart: `v` has the mean of each."""

    reads: ClassVar[tuple[int, ...]] = (4,)

    def __init__(self, example: Tensor, later: Iterable[nn.Module] = (), *, width: float = 0.33) -> None:
        super().__init__(example, later, width=width)
        self.width *= 4

    def forward(self, features: Tensor) -> Tensor:
        """Return `v`, `[B, 4·width]`."""
        return F.adaptive_avg_pool2d(self.layers(features), 2).flatten(1)


class Momentum(ThinBody):
    """A thin head behind a moving average of the trunk's next block, with a learned bias: the momentum auxiliary network (MAN).

    Source: J. Su et al., ECCV 2024, arXiv 2407.05623. The average's buffers are the block's own at the start, and stay.

    Args:
        momentum: share of the average that a step keeps.
    """

    reads: ClassVar[tuple[int, ...]] = (4,)

    def __init__(self, example: Tensor, later: Iterable[nn.Module], *, momentum: float = 0.995, width: float = 0.33) -> None:
        following, *behind = later
        average = deepcopy(following).requires_grad_(False)
        with torch.no_grad():
            seen = average.eval()(example)
        super().__init__(seen, behind, width=width)
        self.average, self.momentum = average.train(), momentum
        self.bias = nn.Parameter(torch.zeros(1, seen.shape[1], 1, 1))
        self.following = [following]  # in a list, so that its parameters are not the head's

    def forward(self, features: Tensor) -> Tensor:
        """Return `v`, and let the average follow the block."""
        if self.training and torch.is_grad_enabled():
            with torch.no_grad():
                for kept, new in zip(self.average.parameters(), self.following[0].parameters(), strict=True):
                    kept.lerp_(new.to(kept), 1 - self.momentum)
        return super().forward(self.average(features) + self.bias)


def _width(block: ResidualBlock) -> int:
    return block.branch[0].out_channels
