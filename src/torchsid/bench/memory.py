"""`torchsid bench memory`: kept bytes and the peak of the process, every contender in a fresh process."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from torchsid.bench.contenders import BACKPROP, entries
from torchsid.bench.peak import Job
from torchsid.bench.rows import MemoryRow, identity, over
from torchsid.bench.workload import Workload
from torchsid.errors import RunError
from torchsid.training.provenance import provenance


def bench_memory(workloads: Sequence[Workload], *, threads: int = 0, progress: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure the memory of every contender on every workload.

    Args:
        workloads: from `plan_workloads`.
        threads: of torch; 0 leaves its setting.
        progress: called with one line a contender.

    Returns:
        `{"rows": [...], "settings": {...}, "provenance": {...}}`, ready for JSON; rows as `MemoryRow`.

    Raises:
        RunError: a contender's process failed.
    """
    rows: list[MemoryRow] = []
    for workload in workloads:
        group = []
        for entry in entries(workload):
            progress(f"{workload.title}: {entry.name}")
            measured = _in_a_process(Job(workload=workload, entry=entry, threads=threads))
            group.append(MemoryRow(**identity(workload, entry), **measured))
        rows += _with_ratios(group)
    settings = {"workloads": [asdict(workload) for workload in workloads], "threads": threads}
    device = torch.device(workloads[0].device)
    return {"rows": [asdict(row) for row in rows], "settings": settings, "provenance": provenance(device)}


def _in_a_process(job: Job) -> dict[str, Any]:
    command = [sys.executable, "-m", "torchsid.bench.peak", job.to_json()]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed, perhaps for its memory: use a smaller batch"])[-1]
        raise RunError(f"{job.workload.title}, {job.entry.name}: its process ended with exit code {done.returncode}: {last}")
    fields: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return fields


def _with_ratios(group: Sequence[MemoryRow]) -> list[MemoryRow]:
    base = next(row for row in group if row.contender == BACKPROP)
    return [
        replace(
            row,
            kept_over_backprop=over(row.kept_bytes, base.kept_bytes),
            peak_over_backprop=over(row.peak_mib, base.peak_mib),
        )
        for row in group
    ]
