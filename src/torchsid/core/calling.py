"""Call any classifier: one tensor, positional or named inputs; logits out of whatever it returns."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchsid.errors import CutError

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]


def call(model: nn.Module, x: Inputs) -> object:
    """Return `model(x)`, `model(*x)` for a plain tuple, or `model(**x)` for a mapping of names such as a tokenizer's."""
    with layer_by_layer():
        return model(**x) if isinstance(x, Mapping) else model(*positional(x))


@contextmanager
def layer_by_layer() -> Iterator[None]:
    """Have `nn.TransformerEncoder` and its layers run in evaluation as they do in training.

    Their fused kernels pass hooks by, and turn padded batches into nested tensors that no head reads, with zeros where padding was.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    if not before or torch.compiler.is_compiling():  # which cannot trace the setting
        yield
        return
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def positional(x: Tensor | tuple[Any, ...]) -> tuple[Any, ...]:
    """Return inputs as positional arguments; a named tuple, such as a packed sequence, is one of them."""
    return x if isinstance(x, tuple) and not hasattr(x, "_fields") else (x,)


def logits_of(output: object) -> Tensor:
    """Return the logits `[B, ..., C]` of a classifier's output.

    They are the output itself, or what it calls `logits`, or its only tensor of two axes or more; of a tuple or list the first such
    tensor. Where there is none, or several without a name that tells, that is a CutError.
    """
    parts = _parts(output)
    if "logits" in parts:
        return logits_of(parts["logits"])
    found = [value for value in parts.values() if isinstance(value, Tensor) and value.dim() > 1]
    if not found or (len(found) > 1 and not isinstance(output, tuple | list)):
        shape = f" of shape {list(output.shape)}" if isinstance(output, Tensor) else ""
        names = f" with {', '.join(parts)}" if parts and "" not in parts else ""
        wanted = "a classifier returns logits [B, ..., C], as a tensor, named 'logits', or first in a tuple"
        way_out = "rename what it returns, or wrap it in a module that returns its logits"
        raise CutError(f"the model returns {type(output).__name__}{shape}{names}; {wanted}: {way_out}")
    return found[0]


def _parts(output: object) -> dict[str, object]:
    """Return what an output holds by name, or by position."""
    if hasattr(output, "logits"):
        return {"logits": output.logits}
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items()}
    if isinstance(output, tuple | list):
        return {str(place): value for place, value in enumerate(output)}
    if is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    return {"": output}
