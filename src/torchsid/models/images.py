"""What networks that read images share."""

from typing import Literal

from torch import Tensor, nn


def side_of(example: Tensor, *, least: int = 1) -> int:
    """Return the side S of square images `[B, channels, S, S]`; a ValueError where they are none, or smaller than the least."""
    if example.dim() != 4 or example.shape[2] != example.shape[3]:
        raise ValueError(f"the network reads square images [B, channels, S, S], but a sample batch has shape {list(example.shape)}")
    if (side := example.shape[-1]) < least:
        raise ValueError(f"image_size={side} must be {least} or more: the network halves the image several times")
    return side


def size_of(example: Tensor) -> int:
    """Return how many numbers a sample has, of rows of a table or of square images; errors of images as of `side_of`."""
    return example.shape[1] * side_of(example) ** 2 if example.dim() == 4 else example[0].numel()


def convolution(channels_in: int, channels_out: int, mode: Literal["fan_in", "fan_out"] = "fan_in") -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the side, with He's initialisation (arXiv 1502.01852) and no bias at first."""
    made = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    nn.init.kaiming_normal_(made.weight, mode=mode, nonlinearity="relu")
    nn.init.constant_(made.bias, 0.0)  # type: ignore[arg-type]
    return made
