"""Which tokens count: a mask of the inputs, followed to the features of a stage."""

import inspect
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.calling import Inputs, positional

MaskOf = Callable[[Inputs], Tensor | None]
"""From a model's inputs to which tokens count, `[B, T]`, 0 or False at padding; None where all do."""

NAME = "attention_mask"


def named_mask(names: Sequence[str], x: Inputs) -> Tensor | None:
    """Return the input `attention_mask`, `[B, T]`, if it is there; `names` are those of the model's arguments, in order."""
    given = x if isinstance(x, Mapping) else dict(zip(names, positional(x), strict=False))
    found = given.get(NAME)
    return found if isinstance(found, Tensor) and found.dim() == 2 else None


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
