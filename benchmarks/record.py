"""Keep what runs measured: one JSON file with provenance, curves and evaluation, and one Markdown table.

    python benchmarks/record.py RUN… --out benchmarks/results/NAME

Weights and images stay behind. The folder of the data files is written as DIR: where they lay on one machine helps nobody.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from torchsid.training import open_run

KEPT_OF_A_SPLIT = ("n", "accuracy", "kl", "ece")
KEPT_OF_AN_EPOCH = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation",
    "seconds",
    "samples_per_second",
    "data_share",
    "memory_mib",
)


def record(path: Path) -> dict[str, Any]:
    run = open_run(path)
    manifest, folder = run.manifest(), run.config().data.path
    evaluation = run.evaluation()
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    command = " ".join(
        Path(word).name if Path(word).is_absolute() and word != folder else word for word in manifest["command"].split()
    )
    result = {
        "manifest": {**manifest, "command": command},
        "config": (path / "config.toml").read_text(),
        "epochs": [{key: line[key] for key in KEPT_OF_AN_EPOCH} for line in lines if line["event"] == "epoch"],
        "evaluation": {
            which: {
                "epoch": part["epoch"],
                **{name: {key: part[name][key] for key in KEPT_OF_A_SPLIT} for name in ("validation", "test") if part[name]},
            }
            for which, part in evaluation.items()
            if which in ("best", "last") and part
        },
    }
    kept: dict[str, Any] = json.loads(json.dumps(result).replace(folder, "DIR") if folder else json.dumps(result))
    return kept


def table(runs: list[dict[str, Any]]) -> str:
    lines = [
        "| run | seed | epochs | test accuracy, best by validation | last | KL, last | by stage, last | training |",
        "| --- |" + " --- |" * 7,
    ]
    for run in runs:
        best, last = run["evaluation"]["best"], run["evaluation"]["last"]
        stages = " ".join(f"{100 * value:.2f}" for value in last["test"]["accuracy"][1:])
        seconds = sum(epoch["seconds"] for epoch in run["epochs"])
        lines.append(
            f"| {run['manifest']['label']} ({run['manifest']['recipe']}) | {run['manifest']['seed']} | {last['epoch']} "
            f"| {100 * best['test']['accuracy'][-1]:.2f} % (epoch {best['epoch']}) | {100 * last['test']['accuracy'][-1]:.2f} % "
            f"| {last['test']['kl'][-1]:.3f} | {stages} | {seconds:.0f} s |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, help="file name without suffix")
    args = parser.parse_args()
    runs = [record(path) for path in args.runs]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text("[\n" + ",\n".join(map(json.dumps, runs)) + "\n]\n")
    commands = "\n".join(dict.fromkeys(f"    {run['manifest']['command']}" for run in runs))
    hardware, versions = runs[0]["manifest"]["hardware"], runs[0]["manifest"]["versions"]
    where = f"{hardware['cpu']}, threads: {hardware['threads']}; torch {versions['torch']}; {runs[0]['manifest']['started'][:10]}"
    args.out.with_suffix(".md").write_text(f"{table(runs)}\n{where}\n\n{commands}\n")
    print(table(runs))


if __name__ == "__main__":
    main()
