"""Put accuracy, kept bytes, step time and peak memory of the same contenders into one table and one figure.

    torchsid experiment benchmarks/accuracy/cifar10-prices.toml --data DIR --out runs/prices
    torchsid bench step   --model resnet-18 --width 16 --stages 4 8 --variant channels-last --json step.json
    torchsid bench memory --model resnet-18 --width 16 --stages 4 8 --variant channels-last --json memory.json
    python benchmarks/prices.py runs/prices step.json memory.json --out benchmarks/results/prices

Contenders go by the bench's names. What computes backpropagation's own gradients another way has its accuracy.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from torchsid.show.plots.points import Mark, Point, tradeoff
from torchsid.show.svg import standalone

REFERENCE = "backprop"
SAME_GRADIENTS = {"checkpointing": "as backprop", "accumulation": "as backprop, but for BatchNorm"}
HEAD = (
    "contender",
    "test accuracy in %, last epoch",
    "less backprop",
    "best by validation",
    "KL, nats",
    "calibration error, %",
    "kept / backprop",
    "step / backprop",
    "peak / backprop",
)


def per_cent(found: dict[str, Any], sign: str = "") -> str:
    """Return a share with its interval, if there is one: over the seeds, or of one seed over the test images."""
    mean, low, high = (None if found[key] is None else 100 * found[key] for key in ("mean", "low", "high"))
    return f"{mean:{sign}.2f}" if low is None else f"{mean:{sign}.2f} ({low:{sign}.2f} to {high:{sign}.2f})"


def rows(experiment: dict[str, Any], step: dict[str, Any], memory: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row a contender of the bench, and then of the experiment, with what is known of it."""
    scores = {each["contender"]: each["metrics"] for each in experiment["summary"]}
    gaps = {each["place"][0]: each["paired"] for each in experiment["differences"] if each["metric"] == "accuracy"}
    costs = {row["contender"]: row for row in step["rows"]}
    peaks = {row["contender"]: row.get("peak_over_backprop") for row in memory["rows"]}
    found = []
    for name in dict.fromkeys([*costs, *scores]):
        gap = {**gaps[name], "mean": gaps[name]["difference"]} if name in gaps else None
        own = {"contender": name, "scores": scores.get(name), "gap": gap, "peak_over_backprop": peaks.get(name)}
        found.append({**costs.get(name, {}), **own})
    return found


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a row as text."""
    found, gap = row["scores"], row["gap"]
    said = (SAME_GRADIENTS.get(row["contender"], "not trained"), *"––––")
    if found:
        kl, ece = found["kl"]["mean"], 100 * found["ece"]["mean"]
        said = (per_cent(found["accuracy"]), per_cent(gap, "+") if gap else "–", per_cent(found["best"]), f"{kl:.3f}", f"{ece:.1f}")
    costs = (row.get("kept_over_backprop"), row.get("step_over_backprop"), row.get("peak_over_backprop"))
    return (row["contender"], *said, *("–" if each is None else f"{each:.2f}" for each in costs))


def table(found: list[dict[str, Any]]) -> str:
    """Return the rows as a table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (HEAD, ("---",) * len(HEAD), *map(cells, found))]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the three results and write table, figure and numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path, help="folder of the finished experiment")
    parser.add_argument("step", type=Path, help="JSON of bench step")
    parser.add_argument("memory", type=Path, help="JSON of bench memory")
    parser.add_argument("--out", type=Path, required=True, help="files to write, without their ending")
    args = parser.parse_args()
    experiment, step, memory = (json.loads(path.read_text()) for path in (args.experiment / "results.json", args.step, args.memory))
    found = rows(experiment, step, memory)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".md").write_text(table(found))
    sources = {"experiment": experiment, "step": step, "memory": memory}
    args.out.with_suffix(".json").write_text(json.dumps(sources, indent=1) + "\n")
    marks, none = [], {"mean": 0.0, "low": None, "high": None}
    for row in found:
        gap = row["gap"] or (none if row["contender"] in (REFERENCE, *SAME_GRADIENTS) else None)
        if gap and "kept_over_backprop" in row:
            point = Point(*(None if gap[key] is None else 100 * gap[key] for key in ("mean", "low", "high")))
            marks.append(Mark(row["contender"], row["kept_over_backprop"], point))
    x, y = "kept bytes / backpropagation", "accuracy less backpropagation's, points"
    drawing = tradeoff("Accuracy against kept bytes", marks, x=x, y=y, higher=True)
    args.out.with_suffix(".svg").write_text(standalone(drawing))


if __name__ == "__main__":
    main()
