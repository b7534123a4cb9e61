"""What the stages of a trained cascade know: wrong labels found among digits with label noise, and what leaving early costs.

    python benchmarks/audit.py --out benchmarks/results
    python benchmarks/audit.py --out benchmarks/results --data DIR --seeds 1

Trains every contender with several seeds (of network, order and noise), resumes where it stopped, and writes `audit.json` and
`anytime.json` with provenance. Exit thresholds are chosen on validation images; test images are evaluated once, after training.
With `--data` the images are 11,000 of CIFAR-10 with labels by people (CIFAR-10N), and the files `audit-people.json` and
`anytime-people.json`.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from torchsid.core.cascade import Cascade
from torchsid.study.audit import audit, detection, disputes, rankings
from torchsid.study.early_exit import exit_curve, operations
from torchsid.study.statistics import mean_interval
from torchsid.training import LoadedNetwork, load_network, resolve, train
from torchsid.training.evaluation import evaluate, predict
from torchsid.training.provenance import provenance

COMMAND = " ".join(["python", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv)])
NETWORKS = {  # label: recipe; all on the same images with the same noise
    "SID": "digits",
    "SID, staged": "digits-staged",
    "BP, same cascade": "digits-bp",
    "BP, plain": "digits-bp-plain",
}
PEOPLE = {"SID": "cifar10-paper", "BP, plain": "cifar10-paper-bp-plain"}
SMALL = ["data.limit=11000", "data.augment.crop=0", "training.epochs=10", "training.precision=bfloat16"]
RATES: dict[float | str, list[str]] = {
    rate: ["data.noise.kind=symmetric", f"data.noise.rate={rate}"] if rate else [] for rate in (0.0, 0.2, 0.4)
}
COLUMNS: dict[float | str, list[str]] = {"worse_label": ["data.noise.kind=column", "data.noise.column=worse_label"]}


def trained(run: Path, recipe: str, settings: list[str], seed: int) -> LoadedNetwork:
    settings = [*settings, f"training.seed={seed}", f"data.noise.seed={seed}", "training.threads=1", "watch.conflict=false"]
    train(resolve(recipe, settings), run, resume=run.exists(), command=COMMAND)
    return load_network(run, "last")


def audited(network: LoadedNetwork) -> dict[str, Any]:
    samples = network.task.load(network.config.training.seed).train
    assert samples.clean_target is not None
    verdicts = audit(network.learner, samples, prepare=network.prepare)
    found = detection(rankings(verdicts, samples.target), samples.target != samples.clean_target)
    return {"n": len(samples), "labels": disputes(verdicts, samples.target, samples.clean_target), "rankings": found}


def left_early(network: LoadedNetwork) -> dict[str, Any]:
    cascade = network.learner.module
    assert isinstance(cascade, Cascade)
    splits = network.task.load(network.config.training.seed)
    beliefs = [
        (predict(network.learner, part.inputs, prepare=network.prepare), part.target) for part in (splits.validation, splits.test)
    ]
    cost = operations(cascade, network.prepare(splits.test.inputs[:2]))
    stages = evaluate(network.learner, splits.test, prepare=network.prepare)["accuracy"][1:]
    return {"accuracy_by_stage": stages, **exit_curve(beliefs[0], beliefs[1], "confidence", cost)}


def summary(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return mean and 95 % interval over the seeds of all numbers, for each setting that `keys` tell apart."""
    groups: dict[tuple[object, ...], list[dict[str, float]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(dict(numbers(row["measured"])))
    result = []
    for group, members in groups.items():
        means = {name: mean_interval([member[name] for member in members]) for name in members[0]}
        spread = {name: {"mean": i.mean, "low": i.low, "high": i.high} for name, i in means.items()}
        result.append({**dict(zip(keys, group, strict=True)), "seeds": len(members), **spread})
    return result


def numbers(measured: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Return the leaves of nested tables that are numbers, under joined names."""
    found = []
    for key, value in measured.items():
        if isinstance(value, Mapping):
            found += numbers(value, f"{prefix}{key}/")
        elif isinstance(value, list):
            found += numbers({f"{key}/{index}": each for index, each in enumerate(value, 1)}, prefix)
        elif isinstance(value, int | float):
            found.append((f"{prefix}{key}", float(value)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--data", help="where the files of CIFAR-10 and CIFAR-10N lie; without it the embedded digits are used")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's own")
    parser.add_argument("--runs", type=Path, help="where the run directories go (default: OUT/audit-runs)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipes, noises = (PEOPLE, COLUMNS) if args.data else (NETWORKS, RATES)
    common = [*SMALL, f"data.path={args.data}"] if args.data else []
    common += [f"training.epochs={args.epochs}"] if args.epochs else []
    command = COMMAND.replace(args.data, "DIR") if args.data else COMMAND
    about = {"command": command, "recipes": recipes, "provenance": provenance()}
    wrong: list[dict[str, Any]] = []
    early: list[dict[str, Any]] = []
    for label in (name for name in args.networks if name in recipes):
        for noise, settings in noises.items():
            if not noise and not label.startswith("SID"):
                continue
            for seed in range(args.seeds):
                run = (args.runs or args.out / "audit-runs") / f"{label.replace(', ', '-').replace(' ', '-')}-{noise}-seed{seed}"
                network = trained(run, recipes[label], [*common, *settings], seed)
                row = {"network": label, "noise": noise, "seed": seed}
                if noise:
                    wrong.append({**row, "measured": audited(network)})
                if label.startswith("SID"):
                    early.append({**row, "measured": left_early(network)})
                print(f"{label}, noise {noise}, seed {seed}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("audit", wrong), ("anytime", early)):
        result = {**about, "summary": summary(rows, ("network", "noise")), "rows": rows}
        (args.out / f"{name}{'-people' if args.data else ''}.json").write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
