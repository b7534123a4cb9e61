"""`python -m torchsid.bench.peak JOB`: the memory of one contender, in a process of its own; JSON in, JSON out."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch

from torchsid.bench.contenders import Contender, Entry, build, excused
from torchsid.bench.rows import head_cost
from torchsid.bench.workload import Workload
from torchsid.core.process_memory import peak_memory_mib, reset_peak_memory

WARM_UP = 2  # steps, after which gradients and momentum exist


@dataclass(frozen=True, kw_only=True)
class Job:
    """One contender on one workload; `threads` of PyTorch, 0 leaves its setting."""

    workload: Workload
    entry: Entry
    threads: int = 0

    def to_json(self) -> str:
        """Return the job as the one argument of the command."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Return the job that `to_json` wrote down."""
        values = json.loads(text)
        return cls(workload=Workload.from_json(values["workload"]), entry=Entry(**values["entry"]), threads=values["threads"])


def measure(job: Job) -> dict[str, Any]:
    """Return `peak_mib`, `kept_bytes` and what the heads add, fields of a `MemoryRow`; or a `note`."""
    if job.threads:
        torch.set_num_threads(job.threads)
    why: list[str] = []
    with excused(job.workload, why):
        contender = build(job.workload, job.entry)
        peak = peak_mib(contender, torch.device(job.workload.device))
        return {"peak_mib": peak, "kept_bytes": contender.kept_bytes(), **head_cost(contender.plan)}
    return {"note": why[0]}


def peak_mib(contender: Contender, device: torch.device) -> float | None:
    """Return the peak of a step after those of warm-up, in MiB above the level before the first.

    It is that of PyTorch's allocations on CUDA, else of the whole process. It holds gradients, momentum, what is kept for backward
    and the buffers of the kernels; not the model and the batch. None where the system does not tell.
    """
    reset_peak_memory(device)
    level = peak_memory_mib(device)  # a peak that has just been reset is the present
    for _ in range(WARM_UP):
        contender.step()
    reset_peak_memory(device)
    contender.step()
    peak = peak_memory_mib(device)
    return None if peak is None or level is None else peak - level


if __name__ == "__main__":
    print(json.dumps(measure(Job.from_json(sys.argv[1]))))
