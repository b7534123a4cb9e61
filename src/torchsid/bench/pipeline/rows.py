"""The rows of the result, from the turns of all contenders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from torchsid.bench.pipeline.entries import BACKPROP, Entry
from torchsid.bench.pipeline.turns import Turns, idle_shares, sent_a_step, steady_step_seconds, step_seconds
from torchsid.bench.turns import quartiles, ratio
from torchsid.bench.workload import Workload


@dataclass(frozen=True, kw_only=True)
class PipelineRow:
    """One contender on one model. Values a worker stand in the order of the ranks."""

    model: str
    blocks: int | None
    contender: str
    micro_batches: int
    workers: int
    """That take part: one for the baselines."""
    rounds: int
    """That were counted; numbers of micro-batches that were only tried have few."""
    best: bool
    """False for a number of micro-batches that was not the best of its method."""
    images_per_second: float
    """At the pace of a full pipeline."""
    images_per_second_with_fill: float
    """Over whole turns, which start and end with an empty pipeline."""
    step_ms: float
    """At the pace of a full pipeline: median and quartiles over the rounds."""
    step_quartiles_ms: tuple[float, float]
    speed_up: float | None
    """Over the same way of learning on one worker, at the pace of a full pipeline; median of the ratio within a round."""
    speed_up_with_fill: float | None
    over_backprop: float | None
    """As `speed_up`, over backpropagation on one worker."""
    efficiency: float | None
    """The speed-up a worker."""
    idle: tuple[float, ...] | None
    """The share of time that each worker waits in a full pipeline; median over the rounds."""
    sent_bytes: float
    """By all workers together, a step."""
    peak_mib: tuple[float | None, ...] | None = None
    """Peak of each worker's process during a step, above the level before the first one."""
    kept_bytes: tuple[int, ...] | None = None
    """The most that autograd keeps for backward in each worker at any moment of a step."""


def best_of_each_schedule(contenders: Sequence[Entry], turns: Mapping[str, Sequence[Turns]]) -> list[Entry]:
    """Return the contenders, each with the number of micro-batches that is fastest in the median."""
    best: dict[str, Entry] = {}
    for entry in contenders:
        kept = best.setdefault(entry.method, entry)
        if entry is not kept and _pace(turns[entry.name]) < _pace(turns[kept.name]):
            best[entry.method] = entry
    return list(best.values())


def row(workload: Workload, entry: Entry, turns: Mapping[str, Sequence[Turns]], *, best: bool) -> PipelineRow:
    """Return one contender's row.

    Args:
        workload: the model and the batch.
        entry: the contender.
        turns: of every contender that took part in the same rounds, by name.
        best: whether it is the best of its schedule.
    """
    own = turns[entry.name]
    steady, whole = list(map(steady_step_seconds, own)), list(map(step_seconds, own))
    workers = sum(bool(turn.ends) for turn in own[0])
    low, high = quartiles(steady) if len(steady) > 1 else (steady[0], steady[0])
    one_worker, backprop = (_alone(turns, method) if best else None for method in (entry.baseline, BACKPROP))
    speed_up = ratio(list(map(steady_step_seconds, one_worker)), steady) if one_worker else None
    return PipelineRow(
        model=workload.model,
        blocks=workload.blocks,
        contender=entry.name,
        micro_batches=entry.micro_batches,
        workers=workers,
        rounds=len(own),
        best=best,
        images_per_second=workload.batch_size / median(steady),
        images_per_second_with_fill=workload.batch_size / median(whole),
        step_ms=1e3 * median(steady),
        step_quartiles_ms=(1e3 * low, 1e3 * high),
        speed_up=speed_up,
        speed_up_with_fill=ratio(list(map(step_seconds, one_worker)), whole) if one_worker else None,
        over_backprop=ratio(list(map(steady_step_seconds, backprop)), steady) if backprop else None,
        efficiency=None if speed_up is None else speed_up / workers,
        idle=_median_idle(own),
        sent_bytes=median(map(sent_a_step, own)),
    )


def _alone(turns: Mapping[str, Sequence[Turns]], method: str) -> Sequence[Turns] | None:
    """Return the turns of a method on one worker, with whatever number of micro-batches took part."""
    return next((own for name, own in turns.items() if name.startswith(Entry(method).name)), None)


def _pace(turns: Sequence[Turns]) -> float:
    return median(map(steady_step_seconds, turns))


def _median_idle(rounds: Sequence[Turns]) -> tuple[float, ...] | None:
    shares = [idle for turns in rounds if (idle := idle_shares(turns)) is not None]
    return tuple(map(median, zip(*shares, strict=True))) if shares else None
