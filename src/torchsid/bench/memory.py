"""`torchsid bench memory`: kept bytes and the peak of the process, every contender in a fresh one."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from torchsid.bench.contenders import Contender, contenders
from torchsid.bench.processes import in_fresh_processes
from torchsid.bench.rows import Row, memory_of, new_row, over_backprop
from torchsid.bench.trainable import Trainable, build, excused
from torchsid.bench.workload import Workload
from torchsid.core.peak_memory import peak_memory_mib, reset_peak_memory

WARM_UP = 2  # steps, after which gradients and momentum exist


def bench_memory(workloads: Sequence[Workload], *, threads: int = 0, progress: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure the memory of every contender on every workload.

    Args:
        workloads: from `plan_workloads`.
        threads: of torch; 0 leaves its setting.
        progress: called with one line a contender.

    Returns:
        `{"rows": [...], "settings": {...}}`, ready for JSON; rows as in `torchsid.bench.rows`.

    Raises:
        RunError: a contender's process failed.
    """
    rows: list[Row] = []
    for workload in workloads:
        group = []
        for contender in contenders(workload):
            progress(f"{workload.title}: {contender.name}")
            group.append(in_fresh_processes(measure, workload, contender, threads))
        rows += over_backprop(group)
    settings = {"workloads": [asdict(workload) for workload in workloads], "threads": threads}
    return {"rows": rows, "settings": settings}


def measure(workload: Workload, contender: Contender, threads: int = 0) -> Row:
    """Return a contender's row: peak, kept bytes and what its heads add; or a note."""
    if threads:
        torch.set_num_threads(threads)
    why: list[str] = []
    found: Row = {}
    with excused(workload, why):
        trainable = build(workload, contender)
        found = {"peak_mib": peak_mib(trainable, steps=1, device=workload.device), **memory_of(trainable)}
    return {**new_row(workload, contender, why), **found}


def peak_mib(trainable: Trainable, *, steps: int, device: str = "cpu") -> float | None:
    """Return the peak of some steps after those of warm-up, in MiB above the level before the first.

    It is that of PyTorch's allocations on CUDA, else of the whole process. It holds gradients, momentum, what is kept for backward
    and the buffers of the kernels; not the model and the batch. None where the system does not tell.
    """
    where = torch.device(device)
    reset_peak_memory(where)
    level = peak_memory_mib(where)  # a peak that has just been reset is the present
    for count in (WARM_UP, steps):
        reset_peak_memory(where)
        for _ in range(count):
            trainable.step()
        trainable.flush()
    peak = peak_memory_mib(where)
    return None if peak is None or level is None else peak - level
