"""From workloads to rows, timelines and notes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from torchsid.bench.pipeline.contenders import pipeline_contenders
from torchsid.bench.pipeline.turn import best_of_each_method, lanes, new_row
from torchsid.bench.pipeline.worker import take_memory, take_time
from torchsid.bench.plan import PipelineSettings
from torchsid.bench.processes import in_fresh_processes, launched
from torchsid.bench.workload import Workload
from torchsid.distributed.assign import assign


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
