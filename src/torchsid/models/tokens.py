"""What a network that reads tokens says when it cannot read these."""

from torch import Tensor


def length_of(example: Tensor) -> int:
    """Return the length T of tokens `[B, T]`.

    Raises:
        ValueError: the example holds none.
    """
    if example.dim() != 2 or example.is_floating_point():
        raise ValueError(f"the network reads tokens [B, T], int64, but a sample batch has shape {list(example.shape)}")
    return example.shape[1]
