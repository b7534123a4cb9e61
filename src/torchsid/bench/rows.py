"""The rows of the results, for JSON: what a contender was measured on, then what was measured; a `note` says why something was not.

`kept_bytes` is the most that autograd keeps for backward at any moment of a step, `peak_mib` the peak of a step above the level
before the first. Times are milliseconds: medians over the rounds, with first and third quartile; `gradients_ms`, of a shared
cascade, is the step without the optimisers. Ratios (`step_over_backprop`, …) are medians of the ratio within a round.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from torchsid.bench.contenders import BACKPROP, BASES, REFERENCE, Procedure
from torchsid.bench.recorder import EXTRACTOR_UPDATE, UPDATE
from torchsid.bench.trainable import Trainable
from torchsid.bench.turns import ratios, spread
from torchsid.bench.workload import Workload
from torchsid.core.staged import Plan

Row = dict[str, Any]
Rounds = Mapping[str, Sequence[Mapping[str, float]]]
"""Of each contender by name, a step a round: its seconds by what was done in it."""


def new_row(workload: Workload, contender: Procedure, why: str = "") -> Row:
    """Return a row that says what it is about; of a shared cascade in its own words too."""
    own = {"depth": contender.stages, "procedure": contender.name} if workload.shared else {}
    about = {"network": workload.title, "model": workload.model, "blocks": workload.blocks, "variant": workload.variant}
    return {**own, **about, "contender": contender.name, "stages": contender.stages, "note": why}


def memory_of(trainable: Trainable) -> Row:
    """Return what a contender keeps for backward, for which it takes a step, and what the heads of its cuts add to the trunk."""
    plan: Plan | None = getattr(trainable.module, "plan", None)
    parameters = sum(stage.head_parameters for stage in plan.stages) if plan else 0
    return {"kept_bytes": trainable.kept_bytes(), "head_parameters": parameters, "head_share": plan.head_share if plan else 0.0}


def times_of(name: str, rounds: Rounds, batch_size: int) -> Row:
    """Return the times of a contender, alone and over those of the others."""
    steps = {each: step_seconds(of) for each, of in rounds.items()}
    found = {**_times("step", name, steps), "images_per_second": batch_size / median(steps[name])}
    if REFERENCE in rounds:
        gradients = {each: step_seconds(of, without=(UPDATE, EXTRACTOR_UPDATE)) for each, of in rounds.items()}
        found |= _times("gradients", name, gradients, (REFERENCE, BACKPROP))
    return found


def over_backprop(group: Sequence[Row]) -> list[Row]:
    """Return the rows of one workload with their memory over that of backpropagation, where both were measured."""
    base = next(row for row in group if row["contender"] == BACKPROP)
    rows = []
    for row in group:
        pairs = {"kept_over_backprop": "kept_bytes", "peak_over_backprop": "peak_mib"}
        over = {name: row[key] / base[key] for name, key in pairs.items() if row.get(key) is not None and base.get(key)}
        rows.append({**row, **over})
    return rows


def step_seconds(rounds: Sequence[Mapping[str, float]], without: Sequence[str] = ()) -> list[float]:
    """Return the seconds of a step in each round, without some of what was done in it."""
    return [sum(seconds for what, seconds in step.items() if what not in without) for step in rounds]


def _times(what: str, own: str, seconds: Mapping[str, Sequence[float]], bases: Sequence[str] = BASES) -> Row:
    middle, low, high = (1e3 * value for value in spread(seconds[own]))
    over = {f"{what}_over_{base}": median(ratios(seconds[own], seconds[base])) for base in bases if base in seconds}
    return {f"{what}_ms": middle, f"{what}_quartiles_ms": (low, high), **over}
