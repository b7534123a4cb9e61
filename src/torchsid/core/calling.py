"""Call any classifier: one tensor, positional or named inputs; logits out of whatever it returns."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]


def call(model: nn.Module, x: Inputs) -> object:
    """Return `model(x)`, `model(*x)` for a tuple, or `model(**x)` for a mapping of names such as a tokenizer's."""
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(x)


def logits_of(output: object) -> Tensor:
    """Return the logits `[B, ..., C]` of a classifier's output: the tensor itself, its field `logits`, or the first of a tuple.

    Raises:
        ValueError: there is no such tensor.
    """
    found = getattr(output, "logits", output)
    if isinstance(found, tuple | list) and found:
        found = found[0]
    if not isinstance(found, Tensor) or found.dim() < 2:
        shape = f" of shape {list(found.shape)}" if isinstance(found, Tensor) else ""
        raise ValueError(
            f"the model returns {type(found).__name__}{shape}; a classifier returns logits [B, ..., C], as a tensor, as the field "
            "'logits' or first in a tuple"
        )
    return found


def batch_size(x: Inputs) -> int:
    """Return B, the length of the first tensor among the inputs.

    Raises:
        ValueError: there is none.
    """
    values = x.values() if isinstance(x, Mapping) else x if isinstance(x, tuple) else (x,)
    sizes = [len(value) for value in values if isinstance(value, Tensor)]
    if not sizes:
        raise ValueError(f"no tensor among the inputs ({type(x).__name__}): give a tensor, a tuple or a mapping that holds one")
    return sizes[0]
