"""`torchsid bench pipeline`: from workloads to rows, timelines and notes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from torchsid.bench.pipeline.entries import BACKPROP, SID, Entry, entries
from torchsid.bench.pipeline.plan import Settings
from torchsid.bench.pipeline.rows import PipelineRow, best_of_each_schedule, row
from torchsid.bench.pipeline.turns import lanes
from torchsid.bench.workers.launch import run
from torchsid.bench.workers.worker import Job, Times, take_memory, take_time
from torchsid.bench.workload import Workload
from torchsid.distributed.assign import assign
from torchsid.training.provenance import provenance

STEPS_SHOWN = 4
METHOD = (
    "A turn is one step that is not counted, a barrier, the counted steps, and another barrier. Paces are those of a full "
    "pipeline, from the first to the last step that leaves the last worker: an epoch fills the pipeline once. 'With fill' counts "
    "whole turns, in which the pipeline of SID fills and drains once; those of backpropagation do so at every step.",
    "Idle is the share of time in a full pipeline outside forward, backward and update: waiting, and handling messages.",
    "Pipelines of backpropagation and SID's are cut by the measured seconds of the stages, without and with belief heads.",
    "Every method but data parallelism tries the numbers of micro-batches; the best counts. One worker accumulates gradients over "
    "them. BatchNorm sees one micro-batch at a time, and in data parallelism one worker's part of the batch.",
    "What data parallelism sends is computed for a ring, 2 (N−1)/N of the gradients a worker; all else is counted.",
)


def bench_pipeline(
    workloads: Sequence[Workload], settings: Settings, *, memory: bool = True, progress: Callable[[str], None] = print
) -> dict[str, Any] | None:
    """Measure every contender on every workload, interleaved in the same processes; memory, each in fresh ones.

    Args:
        workloads: from `plan_pipelines`.
        settings: of the comparison.
        memory: whether to measure it, which takes fresh processes.
        progress: called with one line a measurement of memory; while they take the time, the first worker prints its own.

    Returns:
        `{"rows": [...], "timelines": [...], "assignments": [...], "notes": [...], "settings": {...}, "provenance": {...}}`, ready
        for JSON; rows as `PipelineRow`. None in a process that a launcher started, unless it is the first.

    Raises:
        RunError: a worker failed.
    """
    job = Job(workloads=tuple(workloads), settings=settings)
    measured = run(take_time, job.to_json(), settings.workers)
    if measured is None:
        return None
    compared, left_out = entries(settings.micro_batches, workers=settings.workers, stages=settings.stages)
    rows: list[PipelineRow] = []
    timelines = []
    for workload, times in zip(workloads, measured, strict=True):
        chosen = best_of_each_schedule(compared, times.trials)
        for entry in compared:
            if entry not in chosen:
                rows.append(row(workload, entry, times.trials, best=False))
                continue
            timed = row(workload, entry, times.rounds, best=True)
            alone = Job(workloads=(workload,), settings=settings, seconds=(times.seconds,), entry=entry)
            rows.append(_with_memory(timed, alone, progress) if memory else timed)
            timelines.append(_timeline(workload, entry, times))
    return {
        "rows": [asdict(each) for each in rows],
        "timelines": timelines,
        "assignments": [_assignment(*each, settings.workers) for each in zip(workloads, measured, strict=True)],
        "notes": [*METHOD, *(f"left out: {note}" for note in left_out)],
        "settings": {**asdict(settings), "workloads": [asdict(workload) for workload in workloads]},
        "provenance": provenance(),
    }


def _with_memory(timed: PipelineRow, job: Job, progress: Callable[[str], None]) -> PipelineRow:
    progress(f"memory of {job.workloads[0].title}: {timed.contender}")
    measured = run(take_memory, job.to_json(), job.settings.workers)
    assert measured is not None
    return replace(
        timed,
        peak_mib=tuple(each.peak_mib for each in measured),
        kept_bytes=tuple(each.kept_bytes for each in measured),
    )


def _timeline(workload: Workload, entry: Entry, times: Times) -> dict[str, Any]:
    """Return what every worker did in the first steps of the last round."""
    return {
        "model": workload.title,
        "contender": entry.name,
        "steps": STEPS_SHOWN,
        "workers": lanes(times.rounds[entry.name][-1], STEPS_SHOWN),
    }


def _assignment(workload: Workload, times: Times, workers: int) -> dict[str, Any]:
    """Return how many stages each worker got, and the seconds of every stage that decided it."""
    return {
        "model": workload.title,
        "stage_seconds": times.seconds,
        "stages_a_worker": {method: [len(own) for own in assign(times.seconds[method], workers)] for method in (SID, BACKPROP)},
    }
