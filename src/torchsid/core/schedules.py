"""Schedules: how one step over a cascade is executed. All give the same gradients; `DESCRIPTIONS` names them without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from torchsid.core.learner import StepOutput
    from torchsid.core.step import Step

Schedule = Literal["streaming", "two_phase", "batched"]
DESCRIPTIONS: dict[Schedule, str] = {
    "two_phase": "the paper's algorithm: a teacher pass without gradients, then every stage by itself",
    "streaming": "one forward pass; each stage differentiated and freed at once (default)",
    "batched": "the paper's heads of a shared cascade stacked into one batched problem, in closed form",
}


def names() -> tuple[str, ...]:
    """Return the names of the schedules."""
    return tuple(DESCRIPTIONS)


def get(name: Schedule) -> Callable[[Step], StepOutput]:
    """Return a schedule: a function that fills `.grad` of every parameter of a step's cascade."""
    from torchsid.core.batched import batched
    from torchsid.core.step import local_pass, two_phase

    schedules: dict[Schedule, Callable[[Step], StepOutput]]
    schedules = {"two_phase": two_phase, "streaming": local_pass, "batched": batched}
    return schedules[name]
