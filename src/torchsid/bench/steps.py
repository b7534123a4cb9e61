"""`torchsid bench step` on trunks: time and kept bytes of a training step, all contenders interleaved in one process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import torch

from torchsid.bench.contenders import BACKPROP, CHECKPOINTING, Contender, Entry, build, entries, excused
from torchsid.bench.rows import StepRow, head_cost, identity, over
from torchsid.bench.turns import STEPS_A_TURN, quartiles, ratio, take_turns
from torchsid.bench.workload import Workload
from torchsid.training.provenance import provenance


def bench_steps(
    workloads: Sequence[Workload], *, rounds: int = 12, threads: int = 0, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """Time the step of every contender on every workload; see `turns` for the method.

    Args:
        workloads: from `plan_workloads`.
        rounds: counted rounds, 2 or more, after one of warm-up.
        threads: of torch; 0 leaves its setting.
        progress: called with one line a workload.

    Returns:
        `{"rows": [...], "settings": {...}, "provenance": {...}}`, ready for JSON; rows as `StepRow`.
    """
    if threads:
        torch.set_num_threads(threads)
    rows: list[StepRow] = []
    for workload in workloads:
        progress(workload.title)
        rows += _bench_workload(workload, rounds)
    settings = {"workloads": [asdict(workload) for workload in workloads], "rounds": rounds, "threads": torch.get_num_threads()}
    device = torch.device(workloads[0].device)
    return {"rows": [asdict(row) for row in rows], "settings": settings, "provenance": provenance(device)}


def _bench_workload(workload: Workload, rounds: int) -> list[StepRow]:
    contenders: dict[str, Contender] = {}
    kept: dict[str, int] = {}
    notes: dict[str, str] = {}
    for entry in entries(workload):
        why: list[str] = []
        with excused(workload, why):
            contender = build(workload, entry)
            contender.step()  # compiles, and makes the momentum
            kept[entry.name] = contender.kept_bytes()
            contenders[entry.name] = contender
        notes[entry.name] = "".join(why)
    device = torch.device(workload.device)
    times = take_turns(list(contenders), lambda name: _take_turn(contenders[name], device), rounds) if contenders else {}

    def row(entry: Entry) -> StepRow:
        name, about = entry.name, identity(workload, entry)
        if name not in contenders:
            return StepRow(**about, note=notes[name])
        low, high = quartiles(times[name])
        return StepRow(
            **about,
            **head_cost(contenders[name].plan),
            kept_bytes=kept[name],
            kept_over_backprop=over(kept[name], kept.get(BACKPROP)),
            step_ms=1e3 * median(times[name]),
            step_quartiles_ms=(1e3 * low, 1e3 * high),
            step_over_backprop=ratio(times[name], times[BACKPROP]) if BACKPROP in times else None,
            step_over_checkpointing=ratio(times[name], times[CHECKPOINTING]) if CHECKPOINTING in times else None,
            images_per_second=workload.batch_size / median(times[name]),
        )

    return [row(entry) for entry in entries(workload)]


def _take_turn(contender: Contender, device: torch.device) -> float:
    """Return the median seconds of a step."""
    seconds = []
    for _ in range(1 + STEPS_A_TURN):
        synchronize(device)
        start = time.perf_counter()
        contender.step()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given; a processor has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
