"""What `torchsid plan` foresees against what this machine shows: memory of a step, and the speed-up of two processes.

    python benchmarks/planner.py --out benchmarks/results/planner
    python benchmarks/planner.py --out benchmarks/results/planner --pipeline pipeline.json

Memory: bytes kept for backward, parameters and optimiser state of SID on a cut model, foreseen from shapes and measured on a real
step. Speed-up: foreseen from measured pieces; `--pipeline` adds what was measured, a JSON object of images a second,
`{"resnet-18": {"1": 210.0, "2": 380.0}, …}`.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from torchsid.core.peak_memory import kept_bytes
from torchsid.cut.assemble import staged_cascade
from torchsid.learners.sid import SID
from torchsid.planner.forecast import SID as NAME
from torchsid.planner.forecast import forecast
from torchsid.planner.model import ModelSpec, Trace, trace
from torchsid.planner.request import PlanRequest, resolve
from torchsid.training.provenance import provenance

MODELS = (
    ModelSpec(name="resnet-18", classes=10, image_size=32),
    ModelSpec(name="vgg-11", classes=10, image_size=32),
    ModelSpec(name="vit-tiny", classes=10, image_size=32),
    ModelSpec(name="mlp", classes=10, image_size=32, depth=16, width=512),
)
STAGES = 4


def memory(spec: ModelSpec, batch: int) -> dict[str, Any]:
    """Foreseen and measured bytes of one SID step with momentum."""
    found = trace(spec, stages=STAGES)
    x, target = torch.randn(batch, 3, spec.image_size, spec.image_size), torch.randint(spec.classes, (batch,))
    cascade = staged_cascade(spec.build().train(), spec.classes, STAGES, x[:2])
    optimizer = torch.optim.SGD(cascade.parameters(), lr=0.01, momentum=0.9)
    kept = kept_bytes(cascade, lambda: SID(cascade, optimizer=optimizer).step(x, target))
    states = sum(state["momentum_buffer"].nbytes for state in optimizer.state.values())
    cuts = [stage.cut for stage in cascade.plan.stages]
    return {
        "model": spec.name,
        "batch": batch,
        "kept_bytes": [foreseen_kept(found, cuts, batch), kept],
        "parameter_bytes": [4 * (found.parameters + head_parameters(found, cuts)), nbytes(cascade)],
        "optimizer_bytes": [4 * (found.parameters + head_parameters(found, cuts)), states],
    }


def foreseen_kept(found: Trace, cuts: list[str], batch: int) -> float:
    ends = [[piece.cut for piece in found.pieces].index(cut) + 1 for cut in cuts]
    return max(found.kept_bytes(a, b, batch, local=True) for a, b in zip([0, *ends[:-1]], ends, strict=True))


def head_parameters(found: Trace, cuts: list[str]) -> int:
    return sum(piece.head_parameters for piece in found.pieces if piece.cut in cuts)


def nbytes(module: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


def speed_up(spec: ModelSpec, batch: int, measured: dict[str, float]) -> dict[str, Any]:
    """Foreseen and, if given, measured images a second of one and of two processes that share this machine."""
    request = PlanRequest(
        model=spec,
        devices="2xmeasured",
        stages=STAGES,
        data=1,
        batch_size=batch,
        precision="float32",
        optimizer="momentum",
        link="1GB/s",
        latency="100us",
        measure=True,
    )
    planned = resolve(request)
    rates = {}
    for ranks in (1, 2):
        found = forecast(planned.trace, planned.speed, replace(planned.mesh, ranks=ranks))
        rates[str(ranks)] = found[NAME].samples_per_second
    return {"model": spec.name, "foreseen": rates, "measured": measured}


def table(memories: list[dict[str, Any]], speeds: list[dict[str, Any]]) -> str:
    lines = ["| model | kept, foreseen | measured | parameters, foreseen | measured | optimiser, foreseen | measured |"]
    lines.append("| --- |" + " --- |" * 6)
    for row in memories:
        cells = [f"{size:,.0f}" for key in ("kept_bytes", "parameter_bytes", "optimizer_bytes") for size in row[key]]
        lines.append(f"| {row['model']} | {' | '.join(cells)} |")
    lines += ["", "| model | images/s of one, foreseen | of two | speed-up | measured |", "| --- |" + " --- |" * 4]
    for row in speeds:
        one, two = row["foreseen"]["1"], row["foreseen"]["2"]
        shown = row["measured"]
        measured = f"{shown['2'] / shown['1']:.2f}" if {"1", "2"} <= set(shown) else "–"
        lines.append(f"| {row['model']} | {one:.0f} | {two:.0f} | {two / one:.2f} | {measured} |")
    return "\n".join(lines) + f"\n\nBytes of a step of SID with {STAGES} stages, momentum, float32; seconds from measured pieces.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/planner"), help="file name without suffix")
    parser.add_argument("--models", nargs="+", choices=[spec.name for spec in MODELS], default=[spec.name for spec in MODELS])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--pipeline", type=Path, help="measured images a second by model and number of processes, as JSON")
    args = parser.parse_args()
    measured = json.loads(args.pipeline.read_text()) if args.pipeline else {}
    specs = [spec for spec in MODELS if spec.name in args.models]
    memories = [memory(spec, args.batch_size) for spec in specs]
    speeds = [speed_up(spec, args.batch_size, measured.get(spec.name, {})) for spec in specs]
    result = {"command": " ".join(["python", *sys.argv]), "provenance": provenance(), "memory": memories, "speed": speeds}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(table(memories, speeds))
    print(table(memories, speeds))


if __name__ == "__main__":
    main()
