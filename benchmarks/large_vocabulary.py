"""What a large vocabulary costs: the objective of one stage, and whole training steps, with all logits and a few rows at a time.

    OMP_NUM_THREADS=1 python benchmarks/large_vocabulary.py --out benchmarks/results/large-vocabulary

Every contender has a fresh process. Peaks are above the level before, in MiB; weights and batch are not counted. Seconds are those
of the processor, which other processes on the machine hardly change: the median of some calls after one that is not counted.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torchsid.bench.comparisons import plan_workloads
from torchsid.bench.processes import in_fresh_processes
from torchsid.bench.trainable import build
from torchsid.bench.workload import BACKPROP, SID, Procedure, Workload
from torchsid.core.beliefs import to_log_belief
from torchsid.core.lazy_logits import LazyLogits, learn
from torchsid.core.objective import LocalObjective
from torchsid.core.peak_memory import peak_memory_mib, reset_peak_memory
from torchsid.training.provenance import provenance

CPU = torch.device("cpu")
Row = dict[str, Any]


def measured(call: Callable[[], object], calls: int) -> Row:
    """Return peak and seconds."""
    reset_peak_memory(CPU)
    level = peak_memory_mib(CPU) or 0.0
    call()
    reset_peak_memory(CPU)
    seconds = []
    for _ in range(calls):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return {"peak_mib": (peak_memory_mib(CPU) or 0.0) - level, "cpu_seconds": median(seconds), "n": calls}


def objective(name: str, alpha: float, sizes: tuple[int, int, int], calls: int) -> Row:
    """Measure loss and gradients of a stage of N positions, D channels and V outcomes."""
    positions, width, outcomes = sizes
    generator = torch.Generator().manual_seed(0)
    hidden, taught = (torch.randn(positions, width, generator=generator) for _ in range(2))
    weight = torch.randn(outcomes, width, generator=generator) / width**0.5
    target = torch.randint(outcomes, (positions,), generator=generator)
    method, factor = LocalObjective(), torch.tensor(1 / positions)
    loss = 0.0

    def call() -> None:
        nonlocal loss
        h, w = hidden.clone().requires_grad_(), weight.detach().requires_grad_("frozen" not in name)
        if name.startswith("rows"):
            teacher = LazyLogits(taught, weight) if alpha < 1 else None
            learnt = learn(LazyLogits(h, w), target, teacher, method, alpha, factor)
            loss = float(learnt.losses.mean())
        elif name.startswith("all"):
            logits = h @ w.T
            previous = to_log_belief(taught @ weight.T)
            losses, gradient = method.loss_and_gradient(
                to_log_belief(logits.detach()), method.log_target(target, outcomes), previous, alpha
            )
            logits.backward(gradient.mul_(factor))  # type: ignore[no-untyped-call]
            loss = float(losses.mean())
        else:
            options = {} if name == "cross_entropy" else {"options": torch.nn.LinearCrossEntropyOptions()}  # type: ignore[attr-defined]
            value: Tensor = F.linear_cross_entropy(h, w, target, **options) if options else F.cross_entropy(h @ w.T, target)  # type: ignore[attr-defined]
            value.backward()  # type: ignore[no-untyped-call]
            loss = float(value.detach())

    return {"contender": name, "alpha": alpha, **measured(call, calls), "loss": loss}


def step(workload: Workload, contender: Procedure, calls: int) -> Row:
    """Measure whole training steps, and what autograd keeps for backward in one more."""
    trainable = build(workload, contender)
    return {"contender": contender.name, **measured(trainable.step, calls), "kept_mib": trainable.kept_bytes() / 2**20}


def table(rows: list[Row]) -> str:
    base = {row["alpha"]: row for row in rows if row["contender"] in ("all logits", "cross_entropy")} if "alpha" in rows[0] else {}
    lines = [
        "| | α | peak, MiB | of it | processor, s |" if base else "| | kept, MiB | peak, MiB | of it | processor, s |",
        "|" + " --- |" * 5,
    ]
    for row in rows:
        share = row["peak_mib"] / (base[row["alpha"]] if base else rows[0])["peak_mib"]
        second = f"{row['alpha']:g}" if base else f"{row['kept_mib']:.0f}"
        lines.append(f"| {row['contender']} | {second} | {row['peak_mib']:.0f} | {share:.2f} | {row['cpu_seconds']:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file name without suffix")
    parser.add_argument("--sizes", type=int, nargs=3, default=(2048, 256, 50257), metavar=("N", "D", "V"))
    parser.add_argument("--calls", type=int, default=3)
    args = parser.parse_args()
    sizes, calls = tuple(args.sizes), args.calls
    contenders = [
        ("all logits", 0.5),
        ("rows", 0.5),
        ("rows, frozen W", 0.5),
        ("cross_entropy", 1.0),
        ("rows", 1.0),
        ("rows, frozen W", 1.0),
    ]
    if hasattr(torch.nn, "LinearCrossEntropyOptions"):
        contenders.insert(-2, ("linear_cross_entropy", 1.0))
    rows = []
    for name, alpha in contenders:
        print(f"objective: {name}, α = {alpha}", flush=True)
        rows.append(in_fresh_processes(objective, name, alpha, sizes, calls))
    positions, width, outcomes = sizes
    context = min(256, positions // 8)
    given = {"batch_size": positions // context, "context": context, "vocabulary": outcomes, "width": width}
    (workload,), _ = plan_workloads(["gpt"], [2], head="readout", max_head_share=9.0, device="cpu", **given)
    steps = []
    for contender in (Procedure(BACKPROP), Procedure(SID, 2)):
        print(f"step: {contender.name}", flush=True)
        steps.append(in_fresh_processes(step, workload, contender, calls))
    record = {"command": "python benchmarks/large_vocabulary.py", **provenance(), "sizes": sizes, "workload": asdict(workload)}
    args.out.with_suffix(".json").write_text(json.dumps({**record, "objective": rows, "step": steps}, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(f"{table(rows)}\n{table(steps)}")
    print(table(rows), table(steps), sep="\n")


if __name__ == "__main__":
    main()
