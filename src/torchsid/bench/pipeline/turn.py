"""What the workers saw of one turn, and what follows: paces, how much of the time each worker was idle, the rows of the result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from torchsid.bench.contenders import Procedure
from torchsid.bench.pipeline.contenders import BACKPROP_ALONE, SID_ALONE, SID_PIPELINE
from torchsid.bench.recorder import Span
from torchsid.bench.turns import ratios, spread
from torchsid.bench.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One worker's part in one turn; times in seconds of a clock that all workers share, as on one machine they do."""

    start: float
    """When all were ready."""
    end: float
    """When all were done."""
    ends: tuple[float, ...]
    """When this worker was done with each step; none where it only waited."""
    busy: tuple[Span, ...]
    """What it did, in order; it waited in between."""
    sent_bytes: int = 0


Turns = Sequence[Turn]
"""One a worker, by rank."""


def step_seconds(turns: Turns) -> float:
    """Return seconds a step over the whole turn: with the time that the pipeline takes to fill and to drain."""
    turn = turns[0]
    return (turn.end - turn.start) / len(turn.ends)


def steady_step_seconds(turns: Turns) -> float:
    """Return seconds a step from the first to the last step that left the last worker: the pace of a full pipeline."""
    ends = _working(turns)[-1].ends
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def idle_shares(turns: Turns) -> list[float] | None:
    """Return the share of time that each worker waited while the pipeline was full; None where it never was.

    Full is from the first step that left the last worker until the first worker was done with its last one. Workers that have
    nothing to do at all are left out.
    """
    working = _working(turns)
    start, end = working[-1].ends[0], working[0].ends[-1]
    if start >= end:
        return None
    return [1 - _busy_seconds(turn.busy, start, end) / (end - start) for turn in working]


def sent_a_step(turns: Turns) -> float:
    """Return the bytes that all workers together sent, a step."""
    return sum(turn.sent_bytes for turn in turns) / len(turns[0].ends)


def lanes(turns: Turns, steps: int) -> list[list[Span]]:
    """Return what each worker did until all were done with the first `steps` steps, in seconds since the start, for a figure."""
    working = _working(turns)
    done = max(turn.ends[min(steps, len(turn.ends)) - 1] for turn in working)
    return [
        [Span(each.what, each.start - turn.start, min(each.end, done) - turn.start) for each in turn.busy if each.start < done]
        for turn in working
    ]


def _working(turns: Turns) -> list[Turn]:
    return [turn for turn in turns if turn.ends]


def _busy_seconds(intervals: Sequence[Span], start: float, end: float) -> float:
    return sum(max(0.0, min(each.end, end) - max(each.start, start)) for each in intervals)


def best_of_each_method(contenders: Sequence[Procedure], turns: Mapping[str, Sequence[Turns]]) -> list[Procedure]:
    """Return the contenders, each with the number of micro-batches that is fastest in the median."""
    best: dict[str, Procedure] = {}
    for contender in contenders:
        kept = best.setdefault(contender.method, contender)
        if contender is not kept and _pace(turns[contender.name]) < _pace(turns[kept.name]):
            best[contender.method] = contender
    return list(best.values())


def new_row(
    workload: Workload, contender: Procedure, turns: Mapping[str, Sequence[Turns]], best: Sequence[Procedure]
) -> dict[str, Any]:
    """Return one contender's row, for JSON.

    Args:
        workload: the model and the batch.
        contender: whom it is about.
        turns: of every contender, by name.
        best: the number of micro-batches of each method that is fastest.

    Returns:
        Times and `images_per_second` at the pace of a full pipeline, medians over the rounds, and over whole turns `with_fill`;
        `speed_up` over the same way of learning on one worker, `over_backprop` over backpropagation there, medians of the ratio
        within a round; `efficiency`, the speed-up a worker; `idle`, the share of time that each worker waits in a full pipeline;
        `sent_bytes` by all workers together, a step.
    """
    own, baselines = turns[contender.name], {each.method: turns[each.name] for each in best}
    same = baselines[SID_ALONE if contender.method in (SID_ALONE, SID_PIPELINE) else BACKPROP_ALONE]
    speed_up, workers = _speed_up(same, own, steady_step_seconds), sum(bool(turn.ends) for turn in own[0])
    middle, low, high = spread(list(map(steady_step_seconds, own)))
    return {
        "network": workload.title,
        "model": workload.model,
        "blocks": workload.blocks,
        "contender": contender.name,
        "micro_batches": contender.micro_batches,
        "workers": workers,
        "rounds": len(own),
        "best": contender in best,
        "images_per_second": workload.batch_size / middle,
        "images_per_second_with_fill": workload.batch_size / median(map(step_seconds, own)),
        "step_ms": 1e3 * middle,
        "step_quartiles_ms": (1e3 * low, 1e3 * high),
        "speed_up": speed_up,
        "speed_up_with_fill": _speed_up(same, own, step_seconds),
        "over_backprop": _speed_up(baselines[BACKPROP_ALONE], own, steady_step_seconds),
        "efficiency": speed_up / workers,
        "idle": _median_idle(own),
        "sent_bytes": median(map(sent_a_step, own)),
    }


def _speed_up(base: Sequence[Turns], own: Sequence[Turns], seconds: Callable[[Turns], float]) -> float:
    return median(ratios(list(map(seconds, base)), list(map(seconds, own))))


def _pace(turns: Sequence[Turns]) -> float:
    return median(map(steady_step_seconds, turns))


def _median_idle(rounds: Sequence[Turns]) -> tuple[float, ...] | None:
    shares = [idle for turns in rounds if (idle := idle_shares(turns)) is not None]
    return tuple(map(median, zip(*shares, strict=True))) if shares else None
