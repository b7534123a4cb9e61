"""Gradients that were computed stacked, given to the parameters they belong to."""

from collections.abc import Sequence

from torch import Tensor


def accumulate(parameters: Sequence[Tensor], gradients: Tensor) -> None:
    """Add row i of `gradients`, `[L, ...]`, to `.grad` of parameter i; a `.grad` of None becomes a view of the row."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.requires_grad:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
