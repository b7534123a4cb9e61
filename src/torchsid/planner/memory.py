"""What a device holds, in bytes. Weights, their gradients and the optimiser's state are float32 in every precision."""

from collections.abc import Mapping
from typing import Literal, get_args

FLOAT = 4
HEADER = 10_000  # of a message, about

Optimizer = Literal["sgd", "momentum", "adamw"]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
STATES = {"sgd": 0, "momentum": 1, "adamw": 2}  # numbers that an optimiser keeps for a parameter

Memory = Mapping[str, float]
"""Bytes by what they are for. What the allocator loses and what kernels need for themselves is not known here."""


def holding(parameters: float, optimizer: Optimizer, *, gradients: float | None = None, kept: float, messages: float) -> Memory:
    """Return the memory of a device that trains so many parameters.

    Args:
        parameters: their number.
        optimizer: that updates them.
        gradients: how many of theirs are there at once; by default all.
        kept: bytes of activations kept for backward.
        messages: bytes of the buffers of messages; with full sharding of the gathered parameters.
    """
    return {
        "parameters": FLOAT * parameters,
        "gradients": FLOAT * (parameters if gradients is None else gradients),
        "optimizer": FLOAT * STATES[optimizer] * parameters,
        "kept": kept,
        "messages": messages,
    }


def update_seconds(parameters: float, optimizer: Optimizer, bandwidth: float) -> float:
    """Return the time of an update, which memory bounds: gradient read, parameter and states read and written."""
    return FLOAT * parameters * (3 + 2 * STATES[optimizer]) / bandwidth


def message_bytes(crossing: int, beliefs: int, classes: int, samples: float, wire: int) -> float:
    """Return the bytes of a message of SID: what crosses the cut, the beliefs so far in float32 (the prior first), a header."""
    return samples * (wire * crossing + FLOAT * beliefs * classes) + HEADER
