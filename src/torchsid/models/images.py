"""What a network that reads images says when it cannot read these."""

from torch import Tensor


def side_of(example: Tensor, *, least: int = 1) -> int:
    """Return the side S of square images `[B, channels, S, S]`; a ValueError where they are none, or smaller than the least."""
    if example.dim() != 4 or example.shape[2] != example.shape[3]:
        raise ValueError(f"the network reads square images [B, channels, S, S], but a sample batch has shape {list(example.shape)}")
    if (side := example.shape[-1]) < least:
        raise ValueError(f"image_size={side} must be {least} or more: the network halves the image several times")
    return side
