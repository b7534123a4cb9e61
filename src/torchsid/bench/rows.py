"""The rows of the results; None where a contender could not be measured, and then `note` says why."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from torchsid.bench.contenders import BACKPROP, BASES, REFERENCE, Contender
from torchsid.bench.recorder import EXTRACTOR_UPDATE, UPDATE
from torchsid.bench.trainable import Trainable
from torchsid.bench.turns import ratios, spread
from torchsid.bench.workload import SHARED, Workload

Rounds = Mapping[str, Sequence[Mapping[str, float]]]
"""Of each contender by name, a step a round: its seconds by what was done in it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender on one workload. Times are in milliseconds: median, and first and third quartile over the rounds."""

    model: str
    """`shared` for the paper's shared cascade."""
    blocks: int | None = None
    variant: str = "float32"
    contender: str
    stages: int
    """That the network is cut into, 1 if it is not; of a shared cascade the depth, for all contenders."""
    kept_bytes: int | None = None
    """The most that autograd keeps for backward at any moment of a step."""
    kept_over_backprop: float | None = None
    peak_mib: float | None = None
    """Peak of a step above the level before the first one: of PyTorch's allocations on CUDA, else of the process."""
    peak_over_backprop: float | None = None
    head_parameters: int | None = None
    head_share: float | None = None
    """Multiply-adds of the heads over those of the trunk."""
    gradients_ms: float | None = None
    """Of a shared cascade: all of the step but the optimisers' part."""
    gradients_quartiles_ms: tuple[float, float] | None = None
    gradients_over_reference: float | None = None
    """Ratios are medians over the rounds of the ratio within a round."""
    gradients_over_backprop: float | None = None
    step_ms: float | None = None
    """Forward, backward and update."""
    step_quartiles_ms: tuple[float, float] | None = None
    step_over_reference: float | None = None
    step_over_backprop: float | None = None
    step_over_checkpointing: float | None = None
    step_over_plain: float | None = None
    images_per_second: float | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the row for JSON; that of a shared cascade also has its names for stages and contender."""
        more = {"depth": self.stages, "procedure": self.contender} if self.model == SHARED else {}
        return {**more, **asdict(self)}


def about(workload: Workload, contender: Contender) -> Row:
    """Return a row that says what it is about, and no number."""
    return Row(
        model=workload.model,
        blocks=workload.blocks,
        variant=workload.variant,
        contender=contender.name,
        stages=contender.stages,
    )


def with_memory(row: Row, trainable: Trainable) -> Row:
    """Return the row with what a contender keeps for backward, for which it takes a step, and what the heads of its cuts add."""
    row, plan = replace(row, kept_bytes=trainable.kept_bytes()), trainable.plan
    if row.model == SHARED:
        return row
    parameters = sum(stage.head_parameters for stage in plan.stages) if plan else 0
    return replace(row, head_parameters=parameters, head_share=plan.head_share if plan else 0.0)


def with_times(row: Row, rounds: Rounds, batch_size: int) -> Row:
    """Return the row with the times of its contender, alone and over those of the others."""
    steps = {name: step_seconds(each) for name, each in rounds.items()}
    found = {**_times("step", row.contender, steps), "images_per_second": batch_size / median(steps[row.contender])}
    if REFERENCE in rounds:
        gradients = {name: step_seconds(each, without=(UPDATE, EXTRACTOR_UPDATE)) for name, each in rounds.items()}
        found |= _times("gradients", row.contender, gradients, (REFERENCE, BACKPROP))
    return replace(row, **found)


def _times(what: str, own: str, seconds: Mapping[str, Sequence[float]], bases: Sequence[str] = BASES) -> dict[str, Any]:
    middle, low, high = (1e3 * value for value in spread(seconds[own]))
    over = {f"{what}_over_{base}": median(ratios(seconds[own], seconds[base])) for base in bases if base in seconds}
    return {f"{what}_ms": middle, f"{what}_quartiles_ms": (low, high), **over}


def over_backprop(group: Sequence[Row]) -> list[Row]:
    """Return the rows of one workload with their memory over that of backpropagation, if that was measured."""
    base = next(row for row in group if row.contender == BACKPROP)
    return [
        replace(
            row,
            kept_over_backprop=_over(row.kept_bytes, base.kept_bytes),
            peak_over_backprop=_over(row.peak_mib, base.peak_mib),
        )
        for row in group
    ]


def step_seconds(rounds: Sequence[Mapping[str, float]], without: Sequence[str] = ()) -> list[float]:
    """Return the seconds of a step in each round, without some of what was done in it."""
    return [sum(seconds for what, seconds in step.items() if what not in without) for step in rounds]


def _over(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base
