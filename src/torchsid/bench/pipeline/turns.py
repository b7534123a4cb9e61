"""What the workers saw of one turn of a contender, and what follows: its pace, and how much of the time each worker was idle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Interval(NamedTuple):
    """Something that a worker did; times in seconds."""

    what: str
    """`forward`, `backward` or `update`."""
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One worker's part in one turn; times in seconds of a clock that all workers share, as on one machine they do."""

    start: float
    """When all were ready."""
    end: float
    """When all were done."""
    ends: tuple[float, ...]
    """When this worker was done with each step; none where it only waited."""
    busy: tuple[Interval, ...]
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


def lanes(turns: Turns, steps: int) -> list[list[Interval]]:
    """Return what each worker did until all were done with the first `steps` steps, in seconds since the start, for a figure."""
    working = _working(turns)
    done = max(turn.ends[min(steps, len(turn.ends)) - 1] for turn in working)
    return [
        [Interval(each.what, each.start - turn.start, min(each.end, done) - turn.start) for each in turn.busy if each.start < done]
        for turn in working
    ]


def _working(turns: Turns) -> list[Turn]:
    return [turn for turn in turns if turn.ends]


def _busy_seconds(intervals: Sequence[Interval], start: float, end: float) -> float:
    return sum(max(0.0, min(each.end, end) - max(each.start, start)) for each in intervals)
