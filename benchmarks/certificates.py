"""Which statements of the theory hold on trained cascades, and for which share of which images.

    python benchmarks/certificates.py --data DIR --out benchmarks/results

Trains every cascade with several seeds, resumes where it stopped, certifies the last weights, and writes `certificates.json`
with provenance and `certificates.md`, the table in the docs. Test images are evaluated once, after training.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from torchsid.study.certify.certificate import Certificate, certify
from torchsid.study.statistics import mean_interval
from torchsid.training import load_network, resolve, train
from torchsid.training.evaluation import objective_of
from torchsid.training.provenance import provenance

SMALL_CIFAR = ["model.extractor=mlp", "data.augment.crop=0", "data.augment.flip=false", "data.limit=11000", "training.epochs=15"]
REVERSE = ["learner.direction=reverse", "learner.label_smoothing=0.1"]
CASCADES: dict[str, tuple[str, list[str]]] = {  # label: recipe and settings
    "digits, 5 stages": ("digits", []),
    "the same, reverse, smoothed labels": ("digits", REVERSE),
    "the same, 40 % symmetric noise": ("digits", ["data.noise.kind=symmetric", "data.noise.rate=0.4"]),
    "digits, 64 stages": ("digits", ["model.depth=64", "learner.schedule=batched"]),
    "the same, residual beliefs": ("digits", ["model.depth=64", "learner.schedule=batched", "model.stage=residual"]),
    "digits, staged, 4 stages": ("digits-staged", []),
    "digits, 5 stages, by backpropagation": ("digits-bp", []),
    "CIFAR-10, MLP, 5 stages": ("cifar10-paper", SMALL_CIFAR),
    "the same, people's worst labels": ("cifar10-paper", [*SMALL_CIFAR, "data.noise.kind=column", "data.noise.column=worse_label"]),
}
COMMAND = "python benchmarks/certificates.py --data DIR"
COLUMNS = {
    "premise at every stage": "premise",
    "KL falls at every stage": "descent",
    "stages whose mean KL rises": "rising",
    "KL of the answer": "kl",
    "bound (Prop. 4)": "bound",
    "gap left": "left",
    "ideal": "ideal",
}
SHARES = {"premise", "descent", "left", "ideal"}


def numbers(found: Certificate) -> dict[str, float]:
    last = found.stages[-1]
    return {
        "premise": found.premise_everywhere,
        "descent": found.descent_everywhere,
        "rising": sum(not stage.mean_descends for stage in found.stages),
        "kl": last.kl.mean,
        "bound": last.bound.mean,
        "left": last.residual.mean,
        "ideal": last.ideal_residual,
        "contradictions": found.contradictions,
    }


def certified(label: str, seed: int, runs: Path, folder: str) -> Iterator[dict[str, Any]]:
    """Train a cascade with one seed, and yield what holds on each split against each kind of label."""
    recipe, settings = CASCADES[label]
    settings = [*settings, f"training.seed={seed}", "training.threads=1", "watch.conflict=false"]
    settings += [f"data.path={folder}"] if recipe.startswith("cifar") else []
    settings += [f"data.noise.seed={seed}"] if "data.noise.kind=symmetric" in settings else []
    run = runs / f"{list(CASCADES).index(label)}-seed{seed}"
    train(resolve(recipe, settings), run, resume=run.exists(), command=COMMAND)
    network = load_network(run, "last")
    splits = network.task.load(seed)
    for name, samples in (("train", splits.train), ("test", splits.test)):
        for kind, found in certify(network.learner, samples, objective_of(network.learner), prepare=network.prepare).items():
            labels = {"given": "given", "clean": "true"}[kind]
            yield {"cascade": label, "split": name, "labels": labels, "seed": seed, "n": found.n, **numbers(found)}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and 95 % interval over the seeds for each cascade, split and kind of label."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["cascade"], row["split"], row["labels"]), []).append(row)
    result = []
    for (cascade, split, labels), members in groups.items():
        means = {name: mean_interval([float(member[name]) for member in members]) for name in (*COLUMNS.values(), "contradictions")}
        spread = {name: {"mean": i.mean, "low": i.low, "high": i.high} for name, i in means.items()}
        result.append({"cascade": cascade, "split": split, "labels": labels, "seeds": len(members), **spread})
    return result


def table(summed: list[dict[str, Any]]) -> str:
    header = ["cascade", "images", *COLUMNS]
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for row in summed:
        images = {"train": "training", "test": "test"}[row["split"]] + (", true labels" if row["labels"] == "true" else "")
        cells = (f"{100 * row[name]['mean']:.1f} %" if name in SHARES else f"{row[name]['mean']:.2g}" for name in COLUMNS.values())
        lines.append(f"| {' | '.join([row['cascade'], images, *cells])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="where the data files lie")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--runs", type=Path, help="where the run directories go (default: OUT/certificates-runs)")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for label, (recipe, _) in CASCADES.items():
        if recipe.startswith("cifar") and not args.data:
            print(f"{label}: left out, it needs --data")
            continue
        for seed in range(args.seeds):
            rows += certified(label, seed, args.runs or args.out / "certificates-runs", args.data)
            print(f"{label}, seed {seed}", flush=True)
    summed = summary(rows)
    args.out.mkdir(parents=True, exist_ok=True)
    record = {"command": COMMAND, "cascades": CASCADES, "provenance": provenance(), "summary": summed, "rows": rows}
    (args.out / "certificates.json").write_text(json.dumps(record, ensure_ascii=False) + "\n")
    (args.out / "certificates.md").write_text(table(summed))


if __name__ == "__main__":
    main()
