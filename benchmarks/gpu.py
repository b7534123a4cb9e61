"""What SID costs on one GPU, against its aims: steps of cut trunks and of a shared cascade, the training loop, memory.

    python benchmarks/gpu.py --data DIR --minutes 8        # one data-centre GPU
    python benchmarks/gpu.py --smoke --out DIR             # a processor and tiny networks: whether it runs

Steps are those of `torchsid bench step`, eager and captured, on random images; the loop trains on CIFAR-10. A part begins only if
there is time for it, and leaves a JSON file as soon as it is done.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from torchsid.bench.comparisons import plan_shared, plan_workloads
from torchsid.bench.steps import bench_memory, bench_steps
from torchsid.bench.workload import Workload
from torchsid.cli.console import Console
from torchsid.training import resolve, train
from torchsid.training.provenance import provenance

Result = dict[str, Any]
FAST = "bfloat16+channels-last"
LOOPS = {"backprop": "cifar10-resnet18-bp", "sid-4": "cifar10-resnet18"}
COLUMNS = ("network", "contender", "step_ms", "step_over_backprop", "images_per_second", "kept_over_backprop", "peak_over_backprop")


def parts(args: argparse.Namespace) -> Iterator[tuple[str, float, Callable[[], Result]]]:
    """Yield what there is to measure, the most important first: its name, the seconds that are kept for it, and the measurement."""
    plain, fast = ["float32", "captured"], [FAST, f"{FAST}+captured"]
    rounds, depth, sizes = 10, 64, {"device": "cuda"}
    if args.smoke:
        plain, fast, rounds, depth, sizes = ["float32"], ["float32"], 2, 2, {"device": "cpu", "width": 32, "image_size": 4}

    def planned(model: str, stages: list[int], batch: int, variants: list[str]) -> list[Workload]:
        model, batch = ("mlp", 8) if args.smoke else (model, batch)
        return plan_workloads([model], stages, variants=variants, batch_size=batch, **sizes)[0]

    def steps(*workload: Any) -> Result:
        return bench_steps(planned(*workload), rounds=rounds)

    yield "resnet-18-128", 60, partial(steps, "resnet-18", [4, 8], 128, fast)
    yield "vit-tiny-128", 60, partial(steps, "vit-tiny", [4, 12], 128, fast)
    yield "shared", 60, lambda: bench_steps(plan_shared([depth], variants=plain, device=sizes["device"]), rounds=rounds)
    yield "resnet-18-512", 60, partial(steps, "resnet-18", [4, 8], 512, fast)
    if args.data or args.smoke:
        yield "loop", 150, partial(loop, args)
    yield "memory", 30, lambda: bench_memory(planned("resnet-18", [4, 8], 128, fast[:1]), fresh=False)
    if args.compiled:
        yield "compiled", 180, partial(steps, "resnet-18", [4, 8], 512, [f"{FAST}+compiled"])


def loop(args: argparse.Namespace) -> Result:
    """Train; rows have the samples a second of the last epoch, by when the step of the last, shorter batch is captured too."""
    rows = []
    for contender, recipe in LOOPS.items():
        settings = [f"data.path={json.dumps(args.data)}", "training.epochs=6", "training.batch_size=512", "data.augment.cutout=0"]
        settings += ["training.precision=bfloat16", "training.checkpoint_every_seconds=0"]
        if args.smoke:
            recipe, settings = "digits-staged", ["data.limit=100", "training.epochs=1"]
        with TemporaryDirectory() as folder:
            lines = (train(resolve(recipe, settings), Path(folder) / "run") / "metrics.jsonl").read_text().splitlines()
        *_, last = (each for each in map(json.loads, lines) if each["event"] == "epoch")
        rows.append({"network": f"loop, {recipe}", "contender": contender, "images_per_second": last["samples_per_second"]})
    return {"rows": rows}


def aims(results: Mapping[str, Result]) -> Iterator[tuple[str, str, float]]:
    """Yield what was aimed at, the bound and what was reached, of what was measured; of the variants the last, captured, counts."""
    told = [((part, row["contender"]), row) for part, result in results.items() for row in result["rows"]]
    last, first = dict(told), dict(reversed(told))
    asked = []
    for part, most in (("resnet-18-128", 8), ("resnet-18-512", 8), ("vit-tiny-128", 12)):
        for stages, bound in ((4, "≤ 1.00"), (most, "≤ 1.05")):
            one, base = (last.get((part, contender)) for contender in (f"sid-{stages}", "backprop"))
            asked.append((f"{part}: captured SID in {stages} stages / captured backpropagation", bound, "step_ms", one, base))
    for contender in LOOPS:
        bare = last.get(("resnet-18-512", contender))
        asked.append((f"loop / captured step, {contender}", "≥ 0.90", "images_per_second", last.get(("loop", contender)), bare))
    for how, bound, rows in (("eager", "≥ 5", first), ("captured", "≥ 2", last)):
        what = f"64 stages, one extractor: {how} backpropagation / captured SID (the paper: up to 2.4)"
        asked.append((what, bound, "step_ms", rows.get(("shared", "backprop")), last.get(("shared", "batched"))))
    for what, bound, key, one, base in asked:
        if one and base and key in one and key in base:
            yield what, bound, one[key] / base[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR", help="where CIFAR-10 lies; without it the loop is left out")
    parser.add_argument("--minutes", type=float, default=8, metavar="N", help="begin nothing that would end later (default: 8)")
    parser.add_argument("--compiled", action="store_true", help="measure compiled steps as well, last")
    parser.add_argument("--smoke", action="store_true", help="tiny networks on a processor, where nothing is captured")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu"), metavar="DIR")
    args, began = parser.parse_args(), time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    about = provenance(torch.device("cpu" if args.smoke else "cuda"))
    results: dict[str, Result] = {}
    notes = ["captured steps: there is no GPU"] if args.smoke else []
    for name, seconds, measure in parts(args):
        if time.monotonic() - began + seconds > 60 * args.minutes:
            notes.append(f"{name}: no time")
            continue
        try:
            results[name] = measure()
            (args.out / f"{name}.json").write_text(json.dumps({**results[name], "provenance": about}, indent=1))
        except Exception as error:  # the other parts are worth having
            notes.append(f"{name}: {error!r}")
    screen, rows = Console(), [row for result in results.values() for row in result["rows"]]
    cells = [[f"{row[key]:,.2f}" if isinstance(row.get(key), float) else row.get(key, "–") for key in COLUMNS] for row in rows]
    screen.table(COLUMNS, cells)
    screen.table(["aim", "bound", "reached"], [[what, bound, f"{reached:.2f}"] for what, bound, reached in aims(results)])
    notes += [f"{row['network']}, {row['contender']}: {row['note']}" for row in rows if row.get("note")]
    print(*(f"left out: {note}" for note in notes), sep="\n")


if __name__ == "__main__":
    main()
