"""What a training step takes, contender by contender, and in what order things happen in it.

`torchsid bench step`: time and kept bytes, all contenders of a workload interleaved in one process. `torchsid bench memory`: kept
bytes and the peak of the process, every contender in a fresh one.

Contenders that are timed take turns: within a round each has one, in an order that rotates; ratios are taken within a round, so
that a machine whose speed drifts disturbs both sides alike.

Of a row: `kept_bytes` is the most that autograd keeps for backward at any moment of a step, `peak_mib` the peak of a step above the
level before the first. Times are milliseconds: medians over the rounds, with first and third quartile; `gradients_ms`, of a shared
cascade on a processor, is the step without the optimisers. Ratios (`step_over_backprop`, …) are medians of the ratio within a
round. A `note` says why something was not measured.
"""

import gc
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import count, pairwise
from statistics import median, quantiles
from typing import Any, TypeVar

import torch

from torchsid.bench.processes import in_fresh_processes
from torchsid.bench.recorder import EXTRACTOR_UPDATE, FORWARD, UPDATE, seconds_by_kind
from torchsid.bench.trainable import Trainable, build
from torchsid.bench.workload import BACKPROP, BASES, REFERENCE, SID, Procedure, Workload, contenders
from torchsid.core.allocator import keep_freed_memory
from torchsid.core.peak_memory import peak_memory_mib, reset_peak_memory
from torchsid.core.side_effects import threads as give_threads
from torchsid.core.staged import Plan, StagedCascade
from torchsid.errors import CutError, HeadError

STEPS_A_TURN = 3  # in a row, after one that is not counted: as in training, memory is warm
WARM_UP = 2  # steps, after which gradients and momentum exist

T = TypeVar("T")
Row = dict[str, Any]
Rounds = Mapping[str, Sequence[Mapping[str, float]]]
"""Of each contender by name, a step a round: its seconds by what was done in it."""


def bench_steps(
    workloads: Sequence[Workload], *, rounds: int = 12, threads: int = 0, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """Time the step of every contender on every workload, in 2 rounds or more after one of warm-up.

    With 0 threads torch keeps its setting; `progress` is called with one line a workload. Returns `{"rows": [...],
    "settings": {...}}`, ready for JSON; rows as above.
    """
    with give_threads(threads or torch.get_num_threads()):
        rows: list[Row] = []
        for workload in workloads:
            progress(workload.title)
            rows += _bench(workload, rounds)
        settings = {"workloads": [asdict(workload) for workload in workloads], "rounds": rounds, "threads": torch.get_num_threads()}
    return {"rows": rows, "settings": settings}


def _bench(workload: Workload, rounds: int) -> list[Row]:
    made: dict[str, Trainable] = {}

    def first_step(name: str, trainable: Trainable) -> Row:
        trainable.step()  # compiles, and makes the momentum
        row = memory_of(trainable)
        made[name] = trainable
        return row

    rows = [_row(workload, contender, first_step) for contender in contenders(workload)]
    times = take_rounds(made, rounds)
    for row in rows:
        if (name := row["contender"]) in times:
            row |= times_of(name, times, workload)
    return over_backprop(rows)


def _row(workload: Workload, contender: Procedure, measure: Callable[[str, Trainable], Row]) -> Row:
    """Return a contender's row with what is measured of it, or with a note on why it cannot be had."""
    try:
        return new_row(workload, contender) | measure(contender.name, build(workload, contender))
    except (CutError, HeadError) as error:
        why = str(error)
    except RuntimeError as error:  # as all errors of the compiler and of CUDA graphs are
        if not (how := [option for option in ("compiled", "captured") if workload.has(option)]):
            raise
        why = f"fails when {' and '.join(how)}: {' '.join(str(error).split())[:200]}"
    return new_row(workload, contender, why)


def take_rounds(trainables: Mapping[str, Trainable], rounds: int) -> Rounds:
    """Return a step a round of each, taken in turns: of a few steps the one of median length, so that its parts add up to it."""
    keep_freed_memory()  # as a training does

    def turn(name: str) -> dict[str, float]:
        trainable = trainables[name]
        _, *steps = (seconds_by_kind(trainable.watched_step()) for _ in range(1 + STEPS_A_TURN))
        middle = sorted(steps, key=lambda step: sum(step.values()))[STEPS_A_TURN // 2]
        return {what: seconds / trainable.in_a_row for what, seconds in middle.items()}

    return take_turns(list(trainables), turn, rounds) if trainables else {}


def take_turns(names: Sequence[str], turn: Callable[[str], T], rounds: int) -> dict[str, list[T]]:
    """Return what `turn(name)` gave in each counted round, by name; a round of warm-up goes before."""
    results: dict[str, list[T]] = {name: [] for name in names}
    for round_ in range(-1, rounds):
        first = round_ % len(names)
        for name in [*names[first:], *names[:first]]:
            result = turn(name)
            if round_ >= 0:
                results[name].append(result)
    return results


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, first and third quartile; of a single value, that value."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * (values[0],)
    return middle, low, high


def ratios(times: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return the ratio within each round."""
    return [a / b for a, b in zip(times, base, strict=True)]


def median_seconds(call: Callable[[], object]) -> float:
    """Return the median time of a call that has been warmed up."""
    return median(timeit.repeat(call, number=1, repeat=6)[1:])


def bench_memory(
    workloads: Sequence[Workload], *, threads: int = 0, fresh: bool | None = None, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measure the memory of every contender on every workload, none of them captured; returns what `bench_steps` does.

    If `fresh`, every contender has a process of its own, where the peak of the process is the measure: by default on a processor,
    since PyTorch's allocations on CUDA are told apart in one process. One that fails is a RunError.
    """
    rows: list[Row] = []
    for workload in workloads:
        apart = workload.device == "cpu" if fresh is None else fresh
        if not apart:
            with suppress(RuntimeError):  # of the compiler: the row will say so
                build(workload, Procedure(BACKPROP)).step()  # the libraries' workspaces, which stay, are nobody's peak
        group = []
        for contender in contenders(workload):
            progress(f"{workload.title}: {contender.name}")
            if apart:
                group.append(in_fresh_processes(memory_row, workload, contender, threads))
            else:
                gc.collect()  # what the one before left, so that it is not freed in the midst of a step
                torch.cuda.empty_cache()  # without effect where CUDA is not in use
                group.append(memory_row(workload, contender, threads))
        rows += over_backprop(group)
    settings = {"workloads": [asdict(workload) for workload in workloads], "threads": threads}
    return {"rows": rows, "settings": settings}


def memory_row(workload: Workload, contender: Procedure, threads: int = 0) -> Row:
    """Return a contender's row: peak, kept bytes and what its heads add; or a note."""

    def measure(name: str, trainable: Trainable) -> Row:
        return {"peak_mib": peak_mib(trainable, device=workload.device), **memory_of(trainable)}

    with give_threads(threads or torch.get_num_threads()):
        return _row(workload, contender, measure)


def peak_mib(trainable: Trainable, *, steps: int = 1, device: str = "cpu") -> float | None:
    """Return the peak of some steps after those of warm-up, in MiB above the level before the first.

    It is that of PyTorch's allocations on CUDA, else of the whole process. It holds gradients, momentum, what is kept for backward
    and the buffers of the kernels; not the model and the batch. None where the system does not tell.
    """
    where = torch.device(device)
    reset_peak_memory(where)
    level = peak_memory_mib(where)  # a peak that has just been reset is the present
    for number in (WARM_UP, steps):
        reset_peak_memory(where)
        for _ in range(number):
            trainable.step()
        trainable.flush()
    peak = peak_memory_mib(where)
    return None if peak is None or level is None else peak - level


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


def times_of(name: str, rounds: Rounds, workload: Workload) -> Row:
    """Return the times of a contender, alone and over those of the others."""
    steps = {each: step_seconds(of) for each, of in rounds.items()}
    found = {**_times("step", name, steps), **workload.throughput(median(steps[name]))}
    if UPDATE in rounds.get(REFERENCE, [{}])[0]:  # not so where steps are not taken apart, as on CUDA
        gradients = {each: step_seconds(of, without=(UPDATE, EXTRACTOR_UPDATE)) for each, of in rounds.items()}
        found |= _times("gradients", name, gradients, (REFERENCE, BACKPROP))
    return found


def over_backprop(group: Sequence[Row]) -> list[Row]:
    """Return the rows of one workload with their memory over that of backpropagation, where both were measured."""
    base = next(row for row in group if row["contender"] == BACKPROP)
    pairs = {"kept_over_backprop": "kept_bytes", "peak_over_backprop": "peak_mib"}
    return [
        row | {name: row[key] / base[key] for name, key in pairs.items() if row.get(key) is not None and base.get(key)}
        for row in group
    ]


def step_seconds(rounds: Sequence[Mapping[str, float]], without: Sequence[str] = ()) -> list[float]:
    """Return the seconds of a step in each round, without some of what was done in it."""
    return [sum(seconds for what, seconds in step.items() if what not in without) for step in rounds]


def _times(what: str, own: str, seconds: Mapping[str, Sequence[float]], bases: Sequence[str] = BASES) -> Row:
    middle, low, high = (1e3 * value for value in spread(seconds[own]))
    over = {f"{what}_over_{base}": median(ratios(seconds[own], seconds[base])) for base in bases if base in seconds}
    return {f"{what}_ms": middle, f"{what}_quartiles_ms": (low, high), **over}


def trace_steps(workload: Workload) -> list[dict[str, Any]]:
    """Return the events of a step of SID with the most stages, then of backpropagation cut at the same places, ready for JSON.

    A stage has run forward when its head returns (without heads: when the submodule before the cut does), and is updated when the
    optimiser's step returns; `milliseconds` are since the step began. A step of warm-up goes before.
    """
    most = max(workload.stages)
    contender = Procedure(SID, most)
    sid = build(workload, contender, follow=True)
    backprop = build(workload, Procedure(BACKPROP), follow=True)
    assert isinstance(sid.module, StagedCascade)
    assert sid.module.plan is not None
    for number, stage in enumerate(sid.module.plan.stages[:-1], 2):  # the last ends with the model, which is followed already
        piece = backprop.module.get_submodule(stage.cut)
        piece.register_forward_hook(lambda *told, number=number: backprop.recorder.begin(f"{FORWARD} {number}"))
    updated = [f"stage {stage} updated" for stage in range(1, most + 1)]
    return [*_events(contender.name, sid, updated), *_events(BACKPROP, backprop, ["all stages updated"])]


def _events(name: str, trainable: Trainable, updated: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the events of one step; `updated` names the optimiser's steps in turn."""
    trainable.watched_step()
    intervals = trainable.watched_step()
    forward, updates = count(1), iter(updated)
    for before, after in pairwise(intervals):
        if before.what == UPDATE:
            what = next(updates)
        elif before.what.startswith(FORWARD) and before.what != after.what:
            what = f"stage {next(forward)} forward"
        else:
            continue
        yield {"contender": name, "what": what, "milliseconds": 1e3 * (before.end - intervals[0].start)}
