"""What does local learning cost in accuracy? Contenders on one network, each with a learning rate tuned by the same budget.

    python benchmarks/accuracy.py benchmarks/accuracy/cifar10-resnet18.toml --data DIR --out benchmarks/results/accuracy

The TOML file names a recipe, the settings all runs share, the learning rates, the seeds, the contenders and the ablations. Every
contender trains once with each rate on the first seed; the rate with the best validation accuracy after the last epoch is kept and
trains on the other seeds. An ablation changes one contender and keeps its rate, or `times` that rate. Order of images and
augmentation are those of the seed, the same for all. Test images are evaluated once, after training, and select nothing. Resumes
where it stopped.
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from torchsid.evidence.provenance import provenance
from torchsid.evidence.statistics import mean_interval, paired_seeds
from torchsid.report.figures.tradeoff import Tradeoff, tradeoff
from torchsid.report.standalone import standalone
from torchsid.training import open_run, resolve, train
from torchsid.training.manifest import kept_bytes_of
from torchsid.training.setup import set_up, torch_settings

Row = dict[str, Any]
OWN = ("of", "times", "seeds")  # what the plan says of a contender beside its settings


@dataclass(frozen=True)
class Job:
    name: str
    kind: str
    settings: tuple[str, ...]
    rate: float
    seed: int


def run_one(recipe: str, runs: Path, job: Job) -> Row:
    fixed = [f"optimizer.learning_rate={job.rate}", f"training.seed={job.seed}", "training.threads=1"]
    config = resolve(recipe, [*job.settings, *fixed])
    run = runs / f"{job.name.replace(' ', '-').replace(',', '')}-rate{job.rate}-seed{job.seed}"
    train(config, run, resume=run.exists(), command="python benchmarks/accuracy.py")
    evaluation, manifest = json.loads((run / "evaluation.json").read_text()), open_run(run).manifest()
    return {
        "name": job.name,
        "kind": job.kind,
        "settings": list(job.settings),
        "rate": job.rate,
        "seed": job.seed,
        "validation_last": evaluation["last"]["validation"]["accuracy"][-1],
        "test_last": evaluation["last"]["test"]["accuracy"][-1],
        "test_best": evaluation["best"]["test"]["accuracy"][-1],
        "test_by_stage": evaluation["last"]["test"]["accuracy"][1:],
        "seconds": manifest["train_seconds"],
    }


def kept_bytes(recipe: str, settings: tuple[str, ...]) -> int:
    config = resolve(recipe, [*settings, "training.threads=1"])
    with torch_settings(config) as device:
        return kept_bytes_of(set_up(config, device))


def variants(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {**plan["contenders"], **plan.get("ablations", {})}


def settings_of(plan: dict[str, Any], name: str, data: str) -> tuple[str, ...]:
    own = {key: value for key, value in variants(plan)[name].items() if key not in OWN}
    table = {**plan.get("settings", {}), "data.path": data, **own}
    return tuple(f"{key}={json.dumps(value)}" for key, value in table.items())


def best_rates(rows: Iterable[Row], seed: int) -> dict[str, float]:
    best: dict[str, Row] = {}
    for row in rows:
        if row["kind"] == "contender" and row["seed"] == seed:
            before = best.get(row["name"])
            if before is None or row["validation_last"] > before["validation_last"]:
                best[row["name"]] = row
    return {name: row["rate"] for name, row in best.items()}


@dataclass(frozen=True)
class Result:
    """A contender or an ablation at its rate; accuracies in per cent by seed."""

    name: str
    rate: float
    last: dict[int, float]
    best: dict[int, float]
    kept: int
    seconds: float


def results(plan: dict[str, Any], rows: list[Row], kept: dict[str, int]) -> list[Result]:
    rates = best_rates(rows, plan["seeds"][0])
    found = []
    for name in variants(plan):
        own = [row for row in rows if row["name"] == name and row["rate"] == rates.get(name, row["rate"])]
        if own:
            last, best = ({row["seed"]: 100 * row[key] for row in own} for key in ("test_last", "test_best"))
            seconds = sum(row["seconds"] for row in own) / len(own)
            found.append(Result(name, own[0]["rate"], last, best, kept[name], seconds))
    return found


def mean_cell(values: dict[int, float]) -> str:
    interval = mean_interval(list(values.values()))
    return f"{interval.mean:.2f}" + (f" ({interval.low:.2f} to {interval.high:.2f})" if interval.low is not None else " (one seed)")


def difference_cell(result: Result, baseline: Result) -> str:
    if result is baseline:
        return "–"
    shared = {seed: value for seed, value in baseline.last.items() if seed in result.last}
    paired = paired_seeds({seed: result.last[seed] for seed in shared}, shared)
    return f"{paired.difference:+.2f}" + (f" ({paired.low:+.2f} to {paired.high:+.2f})" if paired.low is not None else "")


def table(found: list[Result]) -> str:
    baseline = found[0]
    columns = ["method", "rate", "test accuracy in %, last epoch", "best by validation", f"last, less {baseline.name}"]
    columns += [f"kept, of {baseline.name}", "seconds"]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    lines += [
        f"| {each.name} | {each.rate} | {mean_cell(each.last)} | {mean_cell(each.best)} | {difference_cell(each, baseline)} "
        f"| {each.kept / baseline.kept:.2f} | {each.seconds:.0f} |"
        for each in found
    ]
    return "\n".join(lines) + "\n"


def figure(plan: dict[str, Any], found: list[Result]) -> str:
    shown = [each for each in found if each.name in plan["contenders"]]
    points = [
        Tradeoff(name=each.name, accuracy=[value / 100 for value in each.last.values()], kept_bytes=each.kept, seconds=each.seconds)
        for each in shown
    ]
    return standalone(tradeoff(points))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--data", required=True, help="folder of the data files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--runs", type=Path, help="where the run directories go (default: OUT/runs)")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, one thread each")
    args = parser.parse_args()
    plan = tomllib.loads(args.plan.read_text())
    name, first, others = args.plan.stem, plan["seeds"][0], plan["seeds"][1:]
    runs = args.runs or args.out / "runs"
    rows: list[Row] = []
    settings = {each: settings_of(plan, each, args.data) for each in variants(plan)}
    kept = {each: kept_bytes(plan["recipe"], own) for each, own in settings.items()}

    def jobs(kind: str, rates: dict[str, list[float]], seeds: list[int]) -> list[Job]:
        return [
            Job(each, kind, settings[each], rate, seed)
            for each, table in plan.get(f"{kind}s", {}).items()
            for rate in rates[each]
            for seed in seeds
            if seed in table.get("seeds", seeds)
        ]

    def finish(batch: list[Job], pool: ProcessPoolExecutor) -> None:
        for row in pool.map(partial(run_one, plan["recipe"], runs), batch):
            rows.append(row)
            text = f"{row['name']:32s} rate {row['rate']:<5} seed {row['seed']}: validation {100 * row['validation_last']:.2f} %"
            print(f"{text}  {row['seconds']:.0f} s", flush=True)
            write()

    def write() -> None:
        args.out.mkdir(parents=True, exist_ok=True)
        command = " ".join(["python", *sys.argv]).replace(args.data, "DIR")
        public = [{**row, "settings": [each for each in row["settings"] if not each.startswith("data.path")]} for row in rows]
        result = {"command": command, "plan": plan, "provenance": provenance(), "kept_bytes": kept, "rows": public}
        (args.out / f"{name}.json").write_text(json.dumps(result) + "\n")
        (args.out / f"{name}.md").write_text(table(results(plan, rows, kept)))

    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        finish(jobs("contender", dict.fromkeys(plan["contenders"], plan["rates"]), [first]), pool)
        rates = best_rates(rows, first)
        finish(jobs("contender", {each: [rates[each]] for each in plan["contenders"]}, others), pool)
        ablated = {each: [rates[table["of"]] * table.get("times", 1)] for each, table in plan.get("ablations", {}).items()}
        finish(jobs("ablation", ablated, [first]), pool)
    found = results(plan, rows, kept)
    (args.out / f"{name}.svg").write_text(figure(plan, found))
    print(table(found))


if __name__ == "__main__":
    main()
