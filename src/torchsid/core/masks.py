"""Which tokens count: a mask of the inputs, followed to the features of a stage."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.calling import Inputs, positional

MaskOf = Callable[[Inputs], Tensor | None]
"""From a model's inputs to which tokens count, `[B, T]`, 0 or False at padding; None where all do."""

NAME = "attention_mask"
PADDING = 0
"""The token that fills a text up to the length of the others, where a network reads tokens alone."""


def named_mask(names: Sequence[str], x: Inputs) -> Tensor | None:
    """Return the input `attention_mask`, `[B, T]`, if it is there; `names` are those of the model's arguments, in order."""
    found = _by_name(names, x).get(NAME)
    return found if isinstance(found, Tensor) and found.dim() == 2 else None


def overlooked(names: Sequence[str], x: Inputs) -> str:
    """Return name and shape of an input that looks like a mask of padding, though `named_mask` does not take it, or ""."""
    for name, value in _by_name(names, x).items():
        if isinstance(value, Tensor) and value.dim() > 1 and ("mask" in name or (value.dtype == torch.bool and value.dim() == 2)):
            return f"{name} {list(value.shape)}"
    return ""


def _by_name(names: Sequence[str], x: Inputs) -> Mapping[str, Any]:
    return x if isinstance(x, Mapping) else dict(zip(names, positional(x), strict=False))


def arguments_of(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the arguments of a module's forward."""
    return tuple(inspect.signature(module.forward).parameters)


def asks_for_mask(module: nn.Module) -> bool:
    """Return whether a module's forward has a parameter `mask`."""
    return "mask" in arguments_of(module)


def fitted(mask: Tensor, tokens: int, in_front: int | None) -> Tensor | None:
    """Return the mask, `[B, T]`, for so many tokens of features; None where it does not fit.

    Those in front count, and others behind are padding, to the multiple of some length that a model wants.
    """
    behind = -1 if in_front is None else tokens - in_front - mask.shape[1]
    if behind < 0 or in_front is None:
        return None
    return F.pad(F.pad(mask, (in_front, 0), value=True), (0, behind), value=False)
