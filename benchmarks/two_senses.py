"""How the runs of `torchsid experiment pair` answer without one of their senses, against what the other alone can know.

    torchsid experiment pair --out out/pair
    python benchmarks/two_senses.py out/pair --out benchmarks/results/two-senses

Nothing is trained: every run at a chosen rate is evaluated with its last weights on the test pairs as they are, without their
images, and without their texts. The table has the last stage with its interval, and the means of those before.
"""

import argparse
import json
from pathlib import Path

import pyarrow.parquet
import torch

from torchsid.study.statistics import Estimate, mean_interval
from torchsid.training import load_network, resolve
from torchsid.training.evaluation import evaluate
from torchsid.training.provenance import provenance
from torchsid.training.setup import build_task

MISSING = ("none", "text", "image")


def chosen(folder: Path) -> list[tuple[str, str, Path]]:
    """Return contender, point and directory of every run at a rate that was chosen."""
    rows = pyarrow.parquet.read_table(folder / "results.parquet", columns=["contender", "point", "run", "chosen"]).to_pylist()
    found = {row["run"]: (row["contender"], row["point"]) for row in rows if row["chosen"]}
    return [(*case, folder / "runs" / run) for run, case in found.items()]


def answers(run: Path, missing: str) -> tuple[list[float], float]:
    """Return the accuracy of every stage of a run on its test pairs, which lack what is missing, and how far images are told apart.

    That is the standard deviation over the pairs of what the encoder of images says, the mean over its outputs, which have the
    size 1 by their LayerNorm.
    """
    network = load_network(run, "last")
    config = resolve(run / "config.toml", [f"data.missing={missing}"])
    test = build_task(config).like(network.about).load(config.training.seed).test
    accuracy: list[float] = evaluate(network.learner, test, prepare=network.prepare)["accuracy"][1:]
    module = network.learner.module
    with torch.no_grad():
        said = getattr(module, "model", module).image(network.prepare(test.inputs[:]))[0]
    return accuracy, float(said.std(0).mean())


def table(found: dict[str, dict[str, list[list[float]]]]) -> str:
    """Return a line a contender and question, from the accuracies by stage of its seeds."""
    lines = ["| question, contender | whole pairs | without texts | without images | spread |", "| --- |" + " --- |" * 4]
    for name, own in found.items():
        cells = []
        for missing in MISSING:
            stages = [mean_interval([100 * each for each in stage]) for stage in zip(*own[missing], strict=True)]
            earlier = ", ".join(f"{stage.mean:.1f}" for stage in stages[:-1])
            cells.append(shown(stages[-1], 1) + (f"; before: {earlier}" if earlier else ""))
        cells.append(shown(mean_interval([each for (each,) in own["spread"]]), 2))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def shown(interval: Estimate, digits: int) -> str:
    """Return a mean with its interval, where there are several seeds."""
    mean = f"{interval.mean:.{digits}f}"
    return mean if interval.low is None else f"{mean} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    found: dict[str, dict[str, list[list[float]]]] = {}
    for contender, point, run in chosen(args.folder):
        own = found.setdefault(f"{point or 'synergy'}: {contender}", {name: [] for name in (*MISSING, "spread")})
        for missing in MISSING:
            accuracy, spread = answers(run, missing)
            own[missing].append(accuracy)
            if missing == "none":
                own["spread"].append([spread])
    command = f"python benchmarks/two_senses.py out/{args.folder.name} --out benchmarks/results/{args.out.name}"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps({"command": command, **provenance(), "found": found}, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(
        f"Test accuracy in % of the last stage, 95 % intervals over seeds. `{command}`\n\n{table(found)}"
    )
