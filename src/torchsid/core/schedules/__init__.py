"""Schedules: how one step over a cascade is executed. All give the same gradients; `DESCRIPTIONS` names them without torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from torchsid.errors import unknown_name

if TYPE_CHECKING:
    from torchsid.core.cascade import Cascade
    from torchsid.core.learner import StepOutput
    from torchsid.core.schedules.step import Step

DESCRIPTIONS = {
    "two_phase": "the paper's algorithm: a teacher pass without gradients, then every stage by itself",
    "streaming": "one forward pass; each stage differentiated and freed at once (default)",
    "batched": "the stages of a shared cascade stacked into one batched problem",
}


class Schedule(Protocol):
    """Runs one step over a shared cascade: fills `.grad` of every parameter. A staged one has a way of its own, `staged_pass`."""

    def __call__(self, step: Step[Cascade], /) -> StepOutput:
        """Run the step and return its losses and beliefs."""


def names() -> tuple[str, ...]:
    """Return the names of the schedules."""
    return tuple(DESCRIPTIONS)


def get(name: str) -> Schedule:
    """Return a schedule by name.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in DESCRIPTIONS:
        raise ValueError(unknown_name("schedule", name, DESCRIPTIONS))
    schedule: Schedule = getattr(import_module(f"torchsid.core.schedules.{name}"), name)
    return schedule
