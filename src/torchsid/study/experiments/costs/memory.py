"""Bytes kept for backward in a step, along depth, width, number of stages and window. They are counted, so once is enough."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from torchsid.bench.contenders import BACKPROP, CHECKPOINTING, Entry, build
from torchsid.bench.workload import Workload
from torchsid.core.kept_bytes import kept_bytes
from torchsid.learners.sid import SID
from torchsid.study.experiments.costs import shared, staged
from torchsid.study.experiments.costs.measured import Measured
from torchsid.study.experiments.costs.plan import Memory
from torchsid.study.experiments.costs.result import MemoryRow

Axis = Literal["depth", "width", "stages", "window"]

LEAST = 2  # points of an axis: one shows no growth
WINDOW = "SID, window w"


@dataclass(frozen=True)
class Point:
    """One network at one place of an axis."""

    network: str
    """What stays the same along the axis."""
    axis: Axis
    value: int
    place: int
    """In its axis, from 0; larger ones cost more."""
    workload: shared.SharedWorkload | Workload


def points(experiment: Memory) -> Iterator[Point]:
    """Yield what is measured, axis by axis."""
    for each in experiment.shared:
        for place, depth in enumerate(each.depths):
            yield Point(f"{each.extractor} extractor", "depth", depth, place, shared.workload(each, depth))
        for place, hidden in enumerate(each.widths):
            work = shared.workload(each, each.depth, hidden)
            yield Point(work.title, "width", hidden, place, work)
    for cut in experiment.staged:
        for place, stages in enumerate(cut.stages):
            whole = staged.workload(cut, [stages])
            yield Point(staged.title(whole), "stages", stages, place, whole)
        for place, window in enumerate(cut.windows):
            whole = staged.workload(cut, [max(cut.stages)])
            yield Point(f"{staged.title(whole)}, {max(cut.stages)} stages", "window", window, place, whole)


def measure(
    experiment: Memory, measured: Measured, seconds: float | None, say: Callable[[str], None]
) -> tuple[list[MemoryRow], list[str]]:
    """Return the rows, and in words what the budget did not allow; what is measured already is not measured again.

    The smallest points of all axes go first; two of each are always measured.

    Args:
        experiment: of kind `memory`.
        measured: what is there, and keeps what comes.
        seconds: the budget; None for none.
        say: called with one line a point.
    """
    start = time.perf_counter()
    all_points = list(points(experiment))
    found: dict[Point, Mapping[str, int]] = {}
    for point in sorted(all_points, key=lambda each: each.place):
        question = {"workload": asdict(point.workload), "window": point.value if point.axis == "window" else None}
        kept = measured.find(question)
        if kept is None and seconds is not None and point.place >= LEAST and time.perf_counter() - start > seconds:
            continue
        took = "already there" if kept else ""
        if kept is None:
            kept = {name: int(value) for name, value in count(point).items()}
            measured.add(question, kept)
        found[point] = kept
        say(f"{point.network:36s} {point.axis} {point.value:<5d} {took}".rstrip())
    return [row for point in all_points if point in found for row in _rows(point, found[point])], dropped(all_points, found)


def count(point: Point) -> dict[str, int]:
    """Return the kept bytes of every contender at a point."""
    work = point.workload
    if isinstance(work, shared.SharedWorkload):
        return {name: new().kept_bytes() for name, new in shared.contenders(work).items()}
    (stages,) = work.stages
    ends = {staged.name_of(entry): build(work, entry).kept_bytes() for entry in (Entry(BACKPROP), Entry(CHECKPOINTING, stages))}
    if point.axis == "stages":
        return {staged.SID: build(work, Entry("sid", stages)).kept_bytes(), **ends}
    cascade = work.new_cascade(stages)
    learner, batch = SID(cascade, window=point.value), work.batch()
    return {WINDOW: kept_bytes(cascade, lambda: learner.backward(*batch)), **ends}


def dropped(all_points: list[Point], found: Mapping[Point, object]) -> list[str]:
    """Return what was left out, in words, an axis each."""
    gone: dict[tuple[str, str], list[str]] = {}
    for point in all_points:
        if point not in found:
            gone.setdefault((point.network, point.axis), []).append(str(point.value))
    return [f"{axis} {', '.join(values)} of {network}" for (network, axis), values in gone.items()]


def _rows(point: Point, kept: Mapping[str, int]) -> Iterator[MemoryRow]:
    base = kept[shared.CHAIN if isinstance(point.workload, shared.SharedWorkload) else staged.BP]
    for name, value in kept.items():
        yield MemoryRow(
            network=point.network,
            kind="shared" if isinstance(point.workload, shared.SharedWorkload) else "staged",
            axis=point.axis,
            value=point.value,
            batch_size=point.workload.batch_size,
            contender=name,
            kept_bytes=value,
            over_backprop=value / base,
        )
