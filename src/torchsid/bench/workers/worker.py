"""What every worker process does: time all contenders in turns, or measure the memory of one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import cast

import torch
import torch.distributed as dist

from torchsid.bench.pipeline.entries import ALONE, BACKPROP, DATA_PARALLEL, SID, SID_PIPELINE, Entry, entries
from torchsid.bench.pipeline.plan import Settings
from torchsid.bench.pipeline.rows import best_of_each_schedule
from torchsid.bench.pipeline.turns import Turn, Turns
from torchsid.bench.turns import take_turns
from torchsid.bench.workers import contenders, rivals
from torchsid.bench.workers.contenders import Contender
from torchsid.bench.workers.pieces import backprop_seconds, cut
from torchsid.bench.workload import Workload
from torchsid.core.kept_bytes import kept_bytes
from torchsid.core.process_memory import peak_memory_mib, reset_peak_memory
from torchsid.distributed.assign import stage_seconds
from torchsid.distributed.handover import Wire
from torchsid.distributed.world import World, join

PATIENCE = 3600.0  # seconds that workers wait while one trains alone
TRIAL_ROUNDS, TRIAL_STEPS = 2, 3  # that are counted, to choose a number of micro-batches
WARM_UP = 2  # steps, after which gradients and momentum exist

Seconds = dict[str, list[float]]
"""What each stage takes, with its belief head (`sid`) and without (`backprop`)."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the workers are to measure."""

    workloads: tuple[Workload, ...]
    settings: Settings
    seconds: tuple[Seconds, ...] = ()
    """Of each workload, where they are known."""
    entry: Entry | None = None
    """The one contender of a measurement of memory."""

    def to_json(self) -> str:
        """Return the job as the one argument of a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Return the job that `to_json` wrote down."""
        values = json.loads(text)
        return cls(
            workloads=tuple(map(Workload.from_json, values["workloads"])),
            settings=Settings.from_json(values["settings"]),
            seconds=tuple(values["seconds"]),
            entry=Entry(**values["entry"]) if values["entry"] else None,
        )


@dataclass(frozen=True, kw_only=True)
class Times:
    """The turns of all contenders on one workload: by name, a list of rounds, each with the turns of all workers."""

    seconds: Seconds
    trials: Mapping[str, Sequence[Turns]]
    """Of every number of micro-batches."""
    rounds: Mapping[str, Sequence[Turns]]
    """Those that count, with the best number of micro-batches of each method."""


def take_time(text: str) -> list[Times] | None:
    """Time every contender on every workload; the result is on the first worker, on the others None."""
    job = Job.from_json(text)
    torch.set_num_threads(job.settings.threads)
    with join(timeout=PATIENCE) as world:
        measured = [_time_workload(workload, job.settings, world) for workload in job.workloads]
    return measured if world.rank == 0 else None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What one worker needs for a contender."""

    peak_mib: float | None
    """Peak of the process in the steps after those of warm-up, above the level before the first; None where the system does not
    tell."""
    kept_bytes: int


def take_memory(text: str) -> list[Memory] | None:
    """Measure one contender on one workload; the result is on the first worker, one for each worker that takes part."""
    job = Job.from_json(text)
    torch.set_num_threads(job.settings.threads)
    (workload,), (seconds,), entry, cpu = job.workloads, job.seconds, job.entry, torch.device("cpu")
    assert entry is not None
    with join(timeout=PATIENCE) as world:
        contender = build(workload, entry, job.settings, world, seconds)
        dist.barrier()
        reset_peak_memory(cpu)
        level = peak_memory_mib(cpu)  # a peak that has just been reset is the present
        _run(contender, WARM_UP)
        reset_peak_memory(cpu)
        _run(contender, job.settings.steps_a_turn)
        peak = peak_memory_mib(cpu)
        mine = None
        if contender:
            kept = kept_bytes(contender.module, contender.step)
            contender.flush()
            mine = Memory(peak_mib=None if peak is None or level is None else peak - level, kept_bytes=kept)
        everyone = world.gather(mine)
    return [each for each in everyone if each] if world.rank == 0 else None


def build(workload: Workload, entry: Entry, settings: Settings, world: World, seconds: Seconds) -> Contender | None:
    """Return this worker's part of a contender; None where it has nothing to do."""
    if entry.method in ALONE and world.rank > 0:
        return None
    if entry.method == SID:
        return contenders.sid(workload, entry.micro_batches)
    if entry.method == BACKPROP:
        return contenders.backprop(workload, entry.micro_batches)
    if entry.method == SID_PIPELINE:
        wire = cast("Wire", settings.wire)
        return contenders.sid_pipeline(workload, world, seconds[SID], entry.micro_batches, wire=wire, queue=settings.queue)
    if entry.method == DATA_PARALLEL:
        return contenders.data_parallel(workload, world)
    return rivals.pipeline(workload, entry, world, seconds[BACKPROP])


def _time_workload(workload: Workload, settings: Settings, world: World) -> Times:
    def note(text: str) -> None:
        if world.rank == 0:
            print(f"{workload.title}: {text}", flush=True)

    note("measuring the stages")
    seconds = world.gather(_measure_seconds(workload) if world.rank == 0 else {})[0]
    compared, _ = entries(settings.micro_batches, workers=settings.workers, stages=settings.stages)
    built = {entry.name: build(workload, entry, settings, world, seconds) for entry in compared}

    def take(some: Sequence[Entry], rounds: int, steps: int) -> dict[str, list[Turns]]:
        names = [entry.name for entry in some]
        own = take_turns(names, lambda name: take_turn(built[name], steps), rounds)
        everyone = world.gather(own)
        return {name: [list(turns) for turns in zip(*(each[name] for each in everyone), strict=True)] for name in names}

    note("trying numbers of micro-batches")
    trials = take([entry for entry in compared if entry.method != DATA_PARALLEL], TRIAL_ROUNDS, TRIAL_STEPS)
    note("taking turns")
    chosen = best_of_each_schedule(compared, trials)
    return Times(seconds=seconds, trials=trials, rounds=take(chosen, settings.rounds, settings.steps_a_turn))


def _measure_seconds(workload: Workload) -> Seconds:
    cascade, _ = cut(workload)
    return {SID: stage_seconds(cascade, *workload.batch()), BACKPROP: backprop_seconds(workload)}


def take_turn(contender: Contender | None, steps: int) -> Turn:
    """Return this worker's part of one turn, after a step that is not counted: as in training, memory is warm."""
    _run(contender, 1)
    dist.barrier()
    ends = []
    if contender:
        contender.recorder.take()
    before = contender.sent_bytes() if contender else 0
    start = perf_counter()
    if contender:
        for _ in range(steps):
            contender.step()
            ends.append(perf_counter())
        contender.flush()
    dist.barrier()
    end = perf_counter()
    return Turn(
        start=start,
        end=end,
        ends=tuple(ends),
        busy=contender.recorder.take() if contender else (),
        sent_bytes=contender.sent_bytes() - before if contender else 0,
    )


def _run(contender: Contender | None, steps: int) -> None:
    if contender:
        for _ in range(steps):
            contender.step()
        contender.flush()
