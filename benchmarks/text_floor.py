"""The floor of a text data set: a linear SVM on TF-IDF of words and pairs of words, on the split of a run's own seed.

    python benchmarks/text_floor.py --data DIR --out benchmarks/results/text-floor

It learns from what a network trains on; its constant C is that of the best validation accuracy. Test texts are evaluated once.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from torchsid.study.statistics import mean_interval
from torchsid.tasks.domain import PARTS
from torchsid.tasks.text import Text
from torchsid.training.provenance import provenance

DATA_SETS = {"trec": ("text", "coarse_label"), "sst2": ("sentence", "label")}
CONSTANTS = (0.1, 0.3, 1.0, 3.0, 10.0)
COMMAND = "python benchmarks/text_floor.py --data DIR --out benchmarks/results/text-floor"


def parts_of(folder: Path, name: str, seed: int) -> dict[str, tuple[Sequence[str], Sequence[int]]]:
    """Return texts and labels of each part, as the task `text` divides them by this seed."""
    found, splits = {}, Text(path=str(folder), name=name, tokens="bytes", length=1).load(seed)
    for part in PARTS:
        file = folder / f"{name}-{part}.parquet"
        table = pyarrow.parquet.read_table(
            file if file.exists() else folder / f"{name}-train.parquet", columns=list(DATA_SETS[name])
        )
        rows = getattr(splits, part).rows
        found[part] = tuple(column.take(rows.numpy()).to_pylist() for column in table.columns)
    return found


def floor(folder: Path, name: str, seed: int) -> dict[str, Any]:
    """Return the test accuracy of the SVM that is best on the validation part."""
    parts = parts_of(folder, name, seed)
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", sublinear_tf=True)
    features = {"train": words.fit_transform(parts["train"][0])}
    features |= {part: words.transform(parts[part][0]) for part in ("validation", "test")}
    fitted = [LinearSVC(C=constant).fit(features["train"], parts["train"][1]) for constant in CONSTANTS]
    accuracies = [each.score(features["validation"], parts["validation"][1]) for each in fitted]
    best = max(range(len(fitted)), key=accuracies.__getitem__)  # of equals the strongest regularisation
    test = fitted[best].score(features["test"], parts["test"][1])
    return {"data": name, "seed": seed, "C": CONSTANTS[best], "validation": accuracies[best], "test": test}


def table(found: Sequence[dict[str, Any]]) -> str:
    lines = ["| data | test accuracy, % | validation, % | seeds |", "| --- | --- | --- | --- |"]
    for name in dict.fromkeys(row["data"] for row in found):
        own = [row for row in found if row["data"] == name]
        means = {part: mean_interval([100 * row[part] for row in own]) for part in ("test", "validation")}
        cells = [
            f"{each.mean:.2f} ({each.low:.2f}–{each.high:.2f})" if each.low is not None else f"{each.mean:.2f}"
            for each in means.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {len(own)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the Parquet files")
    parser.add_argument("--out", type=Path, required=True, help="file name without suffix")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    found = [floor(args.data, name, seed) for name in DATA_SETS for seed in range(args.seeds)]
    record = {"command": COMMAND, "scikit-learn": sklearn.__version__, **provenance(), "rows": found}
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(table(found))


if __name__ == "__main__":
    main()
