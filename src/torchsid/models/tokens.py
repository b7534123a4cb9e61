"""What a network that reads tokens, or cannot, says of what it is given."""

from torch import Tensor


def length_of(example: Tensor) -> int:
    """Return the length T of tokens `[B, T]`.

    Raises:
        ValueError: the example holds none.
    """
    if example.dim() != 2 or example.is_floating_point():
        raise ValueError(f"the network reads tokens [B, T], int64, but a sample batch has shape {list(example.shape)}")
    return example.shape[1]


def numbers_in(example: Tensor) -> int:
    """Return how many numbers a sample of `[B, ...]` holds.

    Raises:
        ValueError: these are tokens.
    """
    if not example.is_floating_point():
        raise ValueError(f"the network reads numbers, and a sample batch has tokens {list(example.shape)}: take another network")
    return example[0].numel()
