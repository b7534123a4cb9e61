"""`torchsid bench pipeline`: what every worker process does for it, what the workers saw of a turn, and the rows that follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist

from torchsid.bench.comparisons import PipelineSettings
from torchsid.bench.pipeline.contenders import (
    BACKPROP_ALONE,
    SID_ALONE,
    SID_PIPELINE,
    Seconds,
    build,
    pipeline_contenders,
    seconds_of_stages,
)
from torchsid.bench.processes import in_fresh_processes, launched, ready_server
from torchsid.bench.recorder import Span
from torchsid.bench.steps import Row, new_row, peak_mib, ratios, spread, take_turns
from torchsid.bench.trainable import Trainable
from torchsid.bench.workload import Procedure, Workload
from torchsid.distributed.assign import assign
from torchsid.distributed.world import World, join

PATIENCE = 3600.0  # seconds that workers wait while one trains alone


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One worker's part in one turn; times in seconds of a clock that all workers share, as on one machine they do."""

    start: float  # when all were ready
    end: float  # when all were done
    ends: tuple[float, ...]  # when this worker was done with each step; none where it only waited
    busy: tuple[Span, ...]  # what it did, in order; it waited in between
    sent_bytes: int = 0


Turns = Sequence[Turn]  # one a worker, by rank
Times = tuple[Seconds, Mapping[str, Sequence[Turns]]]
"""What was timed on one workload: the stages; and of each contender, by name, in each round the turns of all workers."""


def bench_pipeline(
    workloads: Sequence[Workload], settings: PipelineSettings, *, memory: bool = True, progress: Callable[[str], None] = print
) -> dict[str, Any] | None:
    """Measure every contender on every workload, interleaved in the same processes; memory, if asked for, each in fresh ones.

    `progress` is called with one line a measurement of memory; while they take the time, the first worker prints its own. Returns
    rows, timelines, assignments, notes and settings, ready for JSON: the rows of `pipeline_row`, with each worker's `peak_mib` and
    `kept_bytes`; None in all but the first of a launcher's. A worker that fails is a RunError.
    """
    if launched():
        measured = take_time(workloads, settings)
    else:
        measured = in_fresh_processes(take_time, workloads, settings, workers=settings.workers, method=ready_server(__name__))
    if measured is None:
        return None
    compared, left_out = pipeline_contenders(settings.micro_batches, workers=settings.workers, stages=settings.stages)
    rows, timelines, assignments = [], [], []
    for workload, (seconds, turns) in zip(workloads, measured, strict=True):
        best = best_of_each_method(compared, turns)
        for contender in compared:
            row = pipeline_row(workload, contender, turns, best)
            if row["best"] and memory:
                progress(f"memory of {workload.title}: {contender.name}")
                needed = in_fresh_processes(take_memory, workload, contender, settings, seconds, workers=settings.workers)
                peaks, kept = zip(*needed or (), strict=True)
                row |= {"peak_mib": peaks, "kept_bytes": kept}
            rows.append(row)
            if contender in best:
                shown = {"steps": 4, "workers": lanes(turns[contender.name][-1], steps=4)}
                timelines.append({"model": workload.title, "contender": contender.name, **shown})
        shares = {method: [len(own) for own in assign(each, settings.workers)] for method, each in seconds.items()}
        assignments.append({"model": workload.title, "stage_seconds": seconds, "stages_a_worker": shares})
    return {
        "rows": rows,
        "timelines": timelines,
        "assignments": assignments,
        "notes": left_out,
        "settings": {**asdict(settings), "workloads": [asdict(workload) for workload in workloads]},
    }


def take_time(workloads: Sequence[Workload], settings: PipelineSettings) -> list[Times] | None:
    """Time every contender on every workload; the result is on the first worker, on the others None."""
    torch.set_num_threads(settings.threads)
    with join(timeout=PATIENCE) as world:
        measured = [_time(workload, settings, world) for workload in workloads]
    return measured if world.rank == 0 else None


def take_memory(
    workload: Workload, contender: Procedure, settings: PipelineSettings, seconds: Seconds
) -> list[tuple[float | None, int]] | None:
    """Measure one contender's peak in MiB and kept bytes on each worker that takes part; the result is on the first worker."""
    torch.set_num_threads(settings.threads)
    with join(timeout=PATIENCE) as world:
        trainable = build(workload, contender, settings, world, seconds)
        dist.barrier()
        mine = None
        if trainable:
            mine = peak_mib(trainable, steps=settings.steps_a_turn), trainable.kept_bytes()
            trainable.flush()
        everyone = world.gather(mine)
    return [each for each in everyone if each] if world.rank == 0 else None


def _time(workload: Workload, settings: PipelineSettings, world: World) -> Times:
    measured: Seconds = {}
    if world.rank == 0:
        print(f"{workload.title}: measuring the stages, then taking turns", flush=True)
        measured = seconds_of_stages(workload)
    seconds = world.gather(measured)[0]
    compared, _ = pipeline_contenders(settings.micro_batches, workers=settings.workers, stages=settings.stages)
    built = {each.name: build(workload, each, settings, world, seconds) for each in compared}
    own = take_turns(list(built), lambda name: take_turn(built[name], settings.steps_a_turn), settings.rounds)
    everyone = world.gather(own)
    return seconds, {name: list(zip(*(each[name] for each in everyone), strict=True)) for name in built}


def take_turn(trainable: Trainable | None, steps: int) -> Turn:
    """Return this worker's part of one turn, after a step that is not counted: as in training, memory is warm."""
    _run(trainable, 1)
    dist.barrier()
    if trainable:
        trainable.recorder.take()
    before, start = trainable.sent_bytes() if trainable else 0, perf_counter()
    ends = _run(trainable, steps)
    dist.barrier()
    end = perf_counter()
    busy, sent = (trainable.recorder.take(), trainable.sent_bytes() - before) if trainable else ((), 0)
    return Turn(start=start, end=end, ends=tuple(ends), busy=busy, sent_bytes=sent)


def _run(trainable: Trainable | None, steps: int) -> list[float]:
    """Return when each step was done."""
    ends = []
    if trainable:
        for _ in range(steps):
            trainable.step()
            ends.append(perf_counter())
        trainable.flush()
    return ends


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
    busy = [sum(max(0.0, min(each.end, end) - max(each.start, start)) for each in turn.busy) for turn in working]
    return [1 - seconds / (end - start) for seconds in busy]


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


def best_of_each_method(contenders: Sequence[Procedure], turns: Mapping[str, Sequence[Turns]]) -> list[Procedure]:
    """Return the contenders, each with the number of micro-batches that is fastest in the median."""
    best: dict[str, Procedure] = {}
    for contender in sorted(contenders, key=lambda each: median(map(steady_step_seconds, turns[each.name]))):
        best.setdefault(contender.method, contender)
    return [each for each in contenders if each in best.values()]


def pipeline_row(workload: Workload, contender: Procedure, turns: Mapping[str, Sequence[Turns]], best: Sequence[Procedure]) -> Row:
    """Return one contender's row, for JSON, from the turns of all, by name, and the best of each method.

    Times and `images_per_second` (texts, tokens) are at the pace of a full pipeline, medians over the rounds, and over whole turns
    `with_fill`; `speed_up` is over the same way of learning on one worker, `over_backprop` over backpropagation there, medians of
    the ratio within a round; `efficiency` is the speed-up a worker; `idle` the share of time that each worker waits in a full
    pipeline; `sent_bytes` are by all workers together, a step.
    """
    own, baselines = turns[contender.name], {each.method: turns[each.name] for each in best}
    same = baselines[SID_ALONE if contender.method in (SID_ALONE, SID_PIPELINE) else BACKPROP_ALONE]
    speed_up, workers = _speed_up(same, own, steady_step_seconds), sum(bool(turn.ends) for turn in own[0])
    middle, low, high = spread(list(map(steady_step_seconds, own)))
    idle = [shares for round_ in own if (shares := idle_shares(round_)) is not None]
    return {
        **new_row(workload, contender),
        "micro_batches": contender.micro_batches,
        "workers": workers,
        "rounds": len(own),
        "best": contender in best,
        **workload.throughput(middle),
        **{f"{unit}_with_fill": value for unit, value in workload.throughput(median(map(step_seconds, own))).items()},
        "step_ms": 1e3 * middle,
        "step_quartiles_ms": (1e3 * low, 1e3 * high),
        "speed_up": speed_up,
        "speed_up_with_fill": _speed_up(same, own, step_seconds),
        "over_backprop": _speed_up(baselines[BACKPROP_ALONE], own, steady_step_seconds),
        "efficiency": speed_up / workers,
        "idle": tuple(map(median, zip(*idle, strict=True))) if idle else None,
        "sent_bytes": median(map(sent_a_step, own)),
    }


def _speed_up(base: Sequence[Turns], own: Sequence[Turns], seconds: Callable[[Turns], float]) -> float:
    return median(ratios(list(map(seconds, base)), list(map(seconds, own))))
