"""`torchsid bench pipeline`: from workloads to rows, timelines and notes, and what every worker process does for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist

from torchsid.bench.comparisons import PipelineSettings
from torchsid.bench.contenders import Procedure
from torchsid.bench.pieces import Seconds, seconds_of_stages
from torchsid.bench.pipeline.contenders import build, pipeline_contenders
from torchsid.bench.pipeline.turn import Turn, Turns, best_of_each_method, lanes, new_row
from torchsid.bench.processes import in_fresh_processes, launched
from torchsid.bench.steps import peak_mib
from torchsid.bench.trainable import Trainable
from torchsid.bench.turns import take_turns
from torchsid.bench.workload import Workload
from torchsid.distributed.assign import assign
from torchsid.distributed.world import World, join


def bench_pipeline(
    workloads: Sequence[Workload], settings: PipelineSettings, *, memory: bool = True, progress: Callable[[str], None] = print
) -> dict[str, Any] | None:
    """Measure every contender on every workload, interleaved in the same processes; memory, each in fresh ones.

    Args:
        workloads: from `plan_pipelines`.
        settings: of the comparison.
        memory: whether to measure it, which takes fresh processes.
        progress: called with one line a measurement of memory; while they take the time, the first worker prints its own.

    Returns:
        `{"rows": [...], "timelines": [...], "assignments": [...], "notes": [...], "settings": {...}}`, ready for JSON; rows of
        `new_row`, with each worker's `peak_mib` and `kept_bytes`. None in a process that a launcher started, but for the first.

    Raises:
        RunError: a worker failed.
    """
    if launched():
        measured = take_time(workloads, settings)
    else:
        measured = in_fresh_processes(take_time, workloads, settings, workers=settings.workers)
    if measured is None:
        return None
    compared, left_out = pipeline_contenders(settings.micro_batches, workers=settings.workers, stages=settings.stages)
    rows, timelines, assignments = [], [], []
    for workload, (seconds, turns) in zip(workloads, measured, strict=True):
        best = best_of_each_method(compared, turns)
        for contender in compared:
            row = new_row(workload, contender, turns, best)
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


PATIENCE = 3600.0  # seconds that workers wait while one trains alone


Times = tuple[Seconds, Mapping[str, Sequence[Turns]]]
"""What was timed on one workload: the stages; and of each contender, by name, in each round the turns of all workers."""


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
