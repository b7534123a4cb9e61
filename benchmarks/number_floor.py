"""Floors of tasks whose outcome is a number: scikit-learn's regressions, and the same network by backpropagation on squared errors.

    python benchmarks/number_floor.py diabetes --seeds 5 --out benchmarks/results/numbers/diabetes-floor
    python benchmarks/number_floor.py rotation --data DIR --seeds 1 --out benchmarks/results/numbers/rotation-floor

Each learns from what a network of the recipe trains on and sees the same inputs. The setting with the least validation error
(mean absolute) is taken; test samples are evaluated once. The network has one output in place of the bins, the recipe's optimiser,
epochs and batches, and its rates are those of the experiment.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from torchsid.models import CLASSIFIERS
from torchsid.study.statistics import mean_interval
from torchsid.tasks.domain import PARTS, Samples, Splits
from torchsid.training import resolve
from torchsid.training.provenance import provenance
from torchsid.training.setup import build_task

SETTINGS = {
    "diabetes": (["data.fold=seed", "data.validation=0.2"], (0.0001, 0.0003, 0.001, 0.003)),
    "rotation": ([], (0.001, 0.003)),
}
COMMAND = "python benchmarks/number_floor.py {recipe}{data} --seeds {seeds} --out benchmarks/results/numbers/{recipe}-floor"
Array = NDArray[np.float64]
Parts = Mapping[str, tuple[Array, Array]]


def contenders(recipe: str) -> dict[str, list[tuple[str, Callable[[int], Any]]]]:
    """Return by name what is tried of each, with what it is called; of many pixels less."""
    depths, leaves, rates = ((None,), (15,), (0.1,)) if recipe == "rotation" else ((3, 6, None), (3, 7, 15), (0.03, 0.1))

    def forest(seed: int, depth: int | None) -> Any:
        return RandomForestRegressor(100, max_depth=depth, max_features="sqrt", random_state=seed)

    def boosting(seed: int, rate: float, leaves: int) -> Any:
        return HistGradientBoostingRegressor(learning_rate=rate, max_leaf_nodes=leaves, random_state=seed)

    return {
        "ridge": [(f"alpha {a:g}", lambda seed, a=a: Ridge(alpha=a)) for a in (0.1, 1.0, 10.0, 100.0, 1000.0)],
        "random forest": [(f"depth {depth}", partial(forest, depth=depth)) for depth in depths],
        "gradient boosting": [(f"leaves {n}, rate {r}", partial(boosting, rate=r, leaves=n)) for n in leaves for r in rates],
    }


def parts_of(task: Any, splits: Splits) -> Parts:
    """Return the inputs of a network and the numbers, by part."""

    def arrays(samples: Samples) -> tuple[Array, Array]:
        assert samples.value is not None
        return task.prepare(samples.inputs[:], splits.about).flatten(1).double().numpy(), samples.value.numpy()

    return {part: arrays(getattr(splits, part)) for part in PARTS}


def scores(answer: Array, truth: Array) -> dict[str, float]:
    measures = {"mae": mean_absolute_error, "rmse": root_mean_squared_error, "r2": r2_score}
    return {name: float(measure(truth, answer)) for name, measure in measures.items()}


def by_squares(recipe: str, parts: Parts, rate: float, seed: int) -> dict[str, Array]:
    """Return the answers of the recipe's network after the last epoch of backpropagation on squared errors."""
    config = resolve(recipe)
    torch.manual_seed(seed)
    x = {part: torch.from_numpy(inputs).float() for part, (inputs, _) in parts.items()}
    y = torch.from_numpy(parts["train"][1]).float()
    centre, spread = y.mean(), y.std()
    network = CLASSIFIERS.load(config.model.trunk)(x["train"][:2], 1, width=config.model.width)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=config.optimizer.weight_decay)
    size, epochs = config.training.batch_size, config.training.epochs
    steps = epochs * -(-len(y) // size)
    warmup = max(1, round(config.optimizer.warmup * steps))
    falling = lambda step: (1 + np.cos(np.pi * (step - warmup) / max(1, steps - warmup))) / 2  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / warmup if step < warmup else falling(step))
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(size):
            optimizer.zero_grad()
            loss = ((network(x["train"][batch]).squeeze(-1) - (y[batch] - centre) / spread) ** 2).mean()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return {part: (network(each).squeeze(-1) * spread + centre).double().numpy() for part, each in x.items() if part != "train"}


def rows(recipe: str, data: str, seed: int) -> list[dict[str, Any]]:
    """Return what every contender reaches on the split of a seed."""
    settings, rates = SETTINGS[recipe]
    config = resolve(recipe, [*settings, f"training.seed={seed}", *([f"data.path={data}"] if data else [])])
    task = build_task(config)
    parts = parts_of(task, task.load(seed))
    found = []

    def best(name: str, tried: dict[str, dict[str, Array]]) -> None:
        errors = {about: mean_absolute_error(parts["validation"][1], answers["validation"]) for about, answers in tried.items()}
        chosen = min(errors, key=errors.__getitem__)
        held_out = {part: scores(tried[chosen][part], parts[part][1]) for part in PARTS[1:]}
        found.append({"contender": name, "seed": seed, "setting": chosen, **held_out})
        print(found[-1], flush=True)

    for name, tries in contenders(recipe).items():
        fitted = {about: make(seed).fit(*parts["train"]) for about, make in tries}
        best(name, {about: {part: each.predict(parts[part][0]) for part in PARTS[1:]} for about, each in fitted.items()})
    best("BP on squared errors", {f"rate {rate}": by_squares(recipe, parts, rate, seed) for rate in rates})
    return found


def table(found: Sequence[dict[str, Any]]) -> str:
    lines = ["| | MAE, test | RMSE, test | R², test | seeds |", "| --- | --- | --- | --- | --- |"]
    for name in dict.fromkeys(row["contender"] for row in found):
        own = [row["test"] for row in found if row["contender"] == name]
        cells = []
        for metric, digits in (("mae", 2), ("rmse", 2), ("r2", 3)):
            each = mean_interval([row[metric] for row in own])
            interval = f" ({each.low:.{digits}f}–{each.high:.{digits}f})" if each.low is not None else ""
            cells.append(f"{each.mean:.{digits}f}{interval}")
        lines.append(f"| {name} | {' | '.join(cells)} | {len(own)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=tuple(SETTINGS))
    parser.add_argument("--data", default="", metavar="DIR", help="folder of the data files")
    parser.add_argument("--out", type=Path, required=True, help="file name without suffix")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = [row for seed in range(args.seeds) for row in rows(args.recipe, args.data, seed)]
    command = COMMAND.format(recipe=args.recipe, data=" --data DIR" if args.data else "", seeds=args.seeds)
    record = {"command": command, "scikit-learn": sklearn.__version__, **provenance(), "rows": found}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(table(found))


if __name__ == "__main__":
    main()
