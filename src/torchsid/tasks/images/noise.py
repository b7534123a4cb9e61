"""Wrong labels in the training set, and how many there are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from torchsid.errors import DataError
from torchsid.settings import STRICT, Seed, Weight, path_of
from torchsid.tasks.columns import integers, read_columns
from torchsid.tasks.domain import generator_at
from torchsid.tasks.images.raw import RawPart
from torchsid.tasks.images.request import Request
from torchsid.tasks.splitting import Labels


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NoiseConfig:
    """Wrong labels in the training set, to see how a method copes; the test set keeps its own."""

    kind: Literal["none", "symmetric", "asymmetric", "pair", "column"] = "none"
    """A label becomes any other (`symmetric`), the one it is mistaken for (`asymmetric`), the next (`pair`), or what
    people said (`column`)."""
    rate: Weight = 0.0
    """Probability that a label is changed; not used by `column`."""
    seed: Seed = 0
    """Chooses which labels change, whatever the seed of the training."""
    column: str = ""
    """For `column`: the column of labels, such as `worse_label` of CIFAR-10N."""
    file: str = ""
    """For `column`: the Parquet file, relative to `data.path`; empty is `cifar10n-labels.parquet` for CIFAR-10."""

    @model_validator(mode="after")
    def _no_setting_without_effect(self) -> Self:
        problems = []
        if self.kind == "column" and not self.column:
            problems.append("noise.kind = 'column' needs noise.column, such as 'worse_label'")
        if self.kind in ("none", "column") and self.rate:
            problems.append(f"noise.rate = {self.rate} has no effect with noise.kind = {self.kind!r}")
        if self.kind != "column" and (self.column or self.file):
            problems.append(f"noise.column and noise.file have no effect with noise.kind = {self.kind!r}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


_DIGITS = {"7": "1", "2": "7", "5": "6", "6": "5", "3": "8"}
CONFUSIONS: Mapping[str, Mapping[str, str]] = {
    "cifar10": {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"},
    "digits": _DIGITS,
    "mnist": _DIGITS,
}
"""For asymmetric noise: which class is mistaken for which (G. Patrini et al., CVPR 2017); other classes stay clean."""


def noisy_labels(noise: NoiseConfig, request: Request, train: RawPart, class_names: tuple[str, ...]) -> Labels:
    """Return the labels to train on, int64 `[N]`.

    A label of class i becomes j with the probability `transition_matrix(...)[i, j]`, by random numbers that depend on
    `noise.seed` alone; for `column` the labels are those of a Parquet file.

    Raises:
        DataError: the set has no table of confusions, or the file of labels does not fit.
    """
    if noise.kind == "none":
        return train.labels
    if noise.kind == "column":
        return _column(noise, request, train, len(class_names))
    matrix = torch.from_numpy(transition_matrix(noise, request.name, class_names))
    rows = matrix[torch.from_numpy(train.labels)]  # [N, C]
    drawn = torch.multinomial(rows, 1, generator=generator_at("noise", noise.seed))
    return drawn.squeeze(1).numpy()


def transition_matrix(noise: NoiseConfig, name: str, class_names: tuple[str, ...]) -> NDArray[np.float64]:
    """Return `T[i, j] = P(label j | class i)`, `[C, C]`."""
    classes = len(class_names)
    if noise.kind == "symmetric":
        wrong = (1 - np.eye(classes)) / (classes - 1)
    elif noise.kind == "pair":
        wrong = np.roll(np.eye(classes), 1, axis=1)
    else:
        if name not in CONFUSIONS:
            raise DataError(
                f"noise.kind = 'asymmetric' knows no confusions of {name}, only of {', '.join(sorted(CONFUSIONS))}; "
                "noise.kind = 'pair' works for every data set"
            )
        wrong = np.eye(classes)
        for given, taken_for in CONFUSIONS[name].items():
            wrong[class_names.index(given)] = np.eye(classes)[class_names.index(taken_for)]
    return (1 - noise.rate) * np.eye(classes) + noise.rate * wrong


def measure(noise: NoiseConfig, clean: Labels, noisy: Labels, class_names: tuple[str, ...]) -> dict[str, object]:
    """Return what was asked for and what was done: the share of changed labels and which became which."""
    changed = clean != noisy
    transitions: dict[str, dict[str, int]] = {}
    pairs, counts = np.unique(np.stack([clean[changed], noisy[changed]]), axis=1, return_counts=True)
    for (i, j), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        transitions.setdefault(class_names[i], {})[class_names[j]] = count
    report = {"kind": noise.kind, "rate": noise.rate, "seed": noise.seed, "column": noise.column}
    return {**report, "share": float(changed.mean()), "transitions": transitions}


def labels_file(noise: NoiseConfig, request: Request) -> Path:
    """Return the file of `column` noise."""
    if not noise.file and request.name != "cifar10":
        raise DataError(f"set noise.file to the Parquet file with the labels of {request.name}")
    return path_of(request.path) / (noise.file or "cifar10n-labels.parquet")


def _column(noise: NoiseConfig, request: Request, train: RawPart, num_classes: int) -> Labels:
    path, column = labels_file(noise, request), noise.column
    values = _read_labels(path, column)
    try:
        clean = _read_labels(path, "clean_label")
    except DataError:
        clean = None
    expected = int(train.rows.max()) + 1
    problems = []
    if len(values) < expected or (clean is None and len(values) != expected):
        problems.append(f"it has {len(values)} rows, the training set {expected}")
    elif clean is not None and (differing := int((clean[train.rows] != train.labels).sum())):
        problems.append(f"its clean_label differs from the training set in {differing} rows: another set or order")
    if ((values < 0) | (values >= num_classes)).any():
        problems.append(f"column {column!r} has labels outside 0 … {num_classes - 1}")
    if problems:
        raise DataError(f"{path} does not fit {request.name}: " + "; ".join(problems))
    return values[train.rows]


def _read_labels(path: Path, column: str) -> Labels:
    return integers(path, column, read_columns(path, one_of=((column,),)).column(0))
