"""How deep can a cascade get? Plain and residual stages from L = 2 to 256 on the embedded digits.

    python benchmarks/depth.py --out benchmarks/results/depth

Trains every combination of depth, kind of stage and method with several seeds, resumes where it stopped, and writes `depth.json`
(with provenance) and `depth.md`. Test images are evaluated once, after training.
"""

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

from torchsid.training import open_run, resolve, train
from torchsid.training.provenance import provenance

DEPTHS = (2, 4, 8, 16, 32, 64, 128, 256)
METHODS = {  # label: recipe and settings
    "SID, plain stages": ("digits", "model.stage=plain"),
    "SID, residual stages": ("digits", "model.stage=residual"),
    "BP, plain stages": ("digits-bp", "model.stage=plain"),
    "BP, residual stages": ("digits-bp", "model.stage=residual"),
}


def run_one(runs: Path, label: str, depth: int, seed: int, epochs: int) -> dict[str, object]:
    recipe, *settings = METHODS[label]
    fixed = [
        f"model.depth={depth}",
        f"training.seed={seed}",
        f"training.epochs={epochs}",
        "training.threads=1",
        "training.conflict=false",
    ]
    config = resolve(recipe, [*settings, *fixed, 'learner.schedule="batched"'])
    run = runs / f"{label.replace(', ', '-').replace(' ', '-')}-L{depth}-seed{seed}"
    train(config, run, resume=run.exists(), command=" ".join(sys.argv))
    test = json.loads((run / "evaluation.json").read_text())["last"]["test"]
    accuracy, kl = test["accuracy"], test["kl"]
    return {
        "method": label,
        "depth": depth,
        "seed": seed,
        "accuracy": [round(value, 4) for value in accuracy],
        "kl": [round(value, 4) for value in kl],
        "rising_stages": sum(after > before for before, after in pairwise(kl[1:])),
        "seconds": open_run(run).manifest()["train_seconds"],
    }


def table(rows: list[dict[str, object]], seeds: int) -> str:
    lines = [
        f"| L | {' | '.join(METHODS)} |",
        f"| --- |{' --- |' * len(METHODS)}",
    ]
    for depth in sorted({row["depth"] for row in rows}):
        cells = []
        for label in METHODS:
            last = [row["accuracy"][-1] for row in rows if row["method"] == label and row["depth"] == depth]
            kl = [row["kl"][-1] for row in rows if row["method"] == label and row["depth"] == depth]
            spread = f" ± {100 * stdev(last):.1f}" if len(last) > 1 else ""
            cells.append(f"{100 * mean(last):.1f}{spread} (KL {mean(kl):.3f})" if last else "–")
        lines.append(f"| {depth} | {' | '.join(cells)} |")
    which = "one seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    note = f"""
Test accuracy of the last stage in % after the last epoch: {which}.
In brackets KL(target‖p_L) in nats.
"""
    return "\n".join(lines) + "\n" + note


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/depth"))
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--runs", type=Path, help="where the run directories go (default: OUT/runs)")
    args = parser.parse_args()
    rows = []
    for depth in args.depths:
        for label in METHODS:
            for seed in range(args.seeds):
                row = run_one(args.runs or args.out / "runs", label, depth, seed, args.epochs)
                rows.append(row)
                print(
                    f"L={depth:3d} {label:28s} seed {seed}: {100 * row['accuracy'][-1]:.1f} %  {row['seconds']:.0f} s", flush=True
                )
        args.out.mkdir(parents=True, exist_ok=True)
        result = {
            "command": " ".join(["python", *sys.argv]),
            "epochs": args.epochs,
            "seeds": args.seeds,
            "provenance": provenance(),
            "rows": rows,
        }
        (args.out / "depth.json").write_text(json.dumps(result) + "\n")
        (args.out / "depth.md").write_text(table(rows, args.seeds))
    print(table(rows, args.seeds))


if __name__ == "__main__":
    main()
