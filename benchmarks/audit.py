"""What the stages of a trained cascade know: wrong labels found among digits with label noise, and what leaving early costs.

    python benchmarks/audit.py --out benchmarks/results

Trains every contender with several seeds (of network, order and noise), resumes where it stopped, and writes `audit.json` and
`anytime.json` with provenance. Exit thresholds are chosen on validation images; test images are evaluated once, after training.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from torchsid import data
from torchsid.cascade import Cascade
from torchsid.evidence.anytime import exit_curve, operations
from torchsid.evidence.audit import audit, detection, disputes, rankings
from torchsid.evidence.evaluation import evaluate, predict
from torchsid.evidence.provenance import provenance
from torchsid.evidence.statistics import mean_interval
from torchsid.staged import StagedCascade
from torchsid.training import LoadedNetwork, load_network, resolve, train

NETWORKS = {  # label: recipe; all on the same images with the same noise
    "SID": "digits",
    "SID, staged": "digits-staged",
    "BP, same cascade": "digits-bp",
    "BP, plain": "digits-bp-plain",
}
COMMAND = " ".join(["python", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv)])
RATES = (0.0, 0.2, 0.4)  # of symmetric noise


def trained(runs: Path, label: str, rate: float, seed: int, epochs: int | None) -> LoadedNetwork:
    settings = [f"training.seed={seed}", "training.threads=1", "training.conflict=false"]
    settings += [f"training.epochs={epochs}"] if epochs else []
    if rate:
        settings += ["data.noise.kind=symmetric", f"data.noise.rate={rate}", f"data.noise.seed={seed}"]
    run = runs / f"{label.replace(', ', '-').replace(' ', '-')}-noise{round(100 * rate)}-seed{seed}"
    train(resolve(NETWORKS[label], settings), run, resume=run.exists(), command=COMMAND)
    return load_network(run, "last")


def audited(network: LoadedNetwork) -> dict[str, Any]:
    images = data.load(network.config.data, seed=network.config.training.seed).train
    verdicts = audit(network.learner, images, prepare=network.prepare)
    found = detection(rankings(verdicts, images.labels), images.labels != images.clean_labels)
    return {"n": len(images), "labels": disputes(verdicts, images.labels, images.clean_labels), "rankings": found}


def left_early(network: LoadedNetwork) -> dict[str, Any]:
    cascade = network.learner.module
    assert isinstance(cascade, Cascade | StagedCascade)
    splits = data.load(network.config.data, seed=network.config.training.seed)
    beliefs = [
        (predict(network.learner, part.images, prepare=network.prepare), part.labels) for part in (splits.validation, splits.test)
    ]
    cost = operations(cascade, network.prepare(splits.test.images[:2]))
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
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's own")
    parser.add_argument("--runs", type=Path, help="where the run directories go (default: OUT/audit-runs)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = {"command": COMMAND, "recipes": NETWORKS, "provenance": provenance()}
    wrong: list[dict[str, Any]] = []
    early: list[dict[str, Any]] = []
    for label in args.networks:
        for rate in RATES if label.startswith("SID") else RATES[1:]:
            for seed in range(args.seeds):
                network = trained(args.runs or args.out / "audit-runs", label, rate, seed, args.epochs)
                row = {"network": label, "noise": rate, "seed": seed}
                if rate:
                    wrong.append({**row, "measured": audited(network)})
                if label.startswith("SID"):
                    early.append({**row, "measured": left_early(network)})
                print(f"{label}, {100 * rate:.0f} % noise, seed {seed}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("audit", wrong), ("anytime", early)):
        result = {**about, "summary": summary(rows, ("network", "noise")), "rows": rows}
        (args.out / f"{name}.json").write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
