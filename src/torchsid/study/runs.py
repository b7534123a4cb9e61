"""A run directory, read into typed, immutable records; every gap is reported by name."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from torchsid.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

    from torchsid.tasks import Samples

_REQUIRED = ("config.toml", "manifest.json", "metrics.jsonl")
_MANIFEST_KEYS = ("torchsid", "status", "label", "recipe", "seed", "versions", "hardware", "data")

Which = Literal["best", "last"]
"""Weights: the best on validation, or those after the last epoch."""


@dataclass(frozen=True)
class Scores:
    """How one set of weights answers one split; what a run did not record is empty."""

    split: str
    epoch: int
    n: int
    by_stage: Mapping[str, tuple[float, ...]]
    """`accuracy`, `kl` (mean KL(target || p_i) in nats), `ece` (expected calibration error), each `[L+1]`: index 0 is the prior."""
    kl_quantiles: Mapping[float, tuple[float, ...]]
    """Quantile in (0, 1) to `[L+1]`."""
    confusion: NDArray[np.int64]
    """`[C, C]`, rows are the true classes; the last stage."""
    calibration: Mapping[str, tuple[float, ...]]
    """`confidence`, `accuracy`, `count`: one number a bin of confidence."""
    correct: NDArray[np.bool_] | None
    """Whether the last stage is right, `[N]` in the order of the data set."""

    def last(self, metric: str) -> float:
        """Return a number of the last stage; NaN where there is none."""
        return self.by_stage.get(metric, (float("nan"),))[-1]


@dataclass(frozen=True, eq=False)
class RunRecord:
    """All that a run says of itself."""

    path: Path
    config_text: str
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    """The "epoch" events in order, one an epoch."""
    warnings: tuple[str, ...]
    scores: Mapping[tuple[str, str], Scores]
    """By weights (`best`, `last`) and split (`validation`, `test`); empty until the run has been evaluated."""

    @property
    def name(self) -> str:
        """The name of the run's directory."""
        return self.path.name

    @property
    def label(self) -> str:
        """The method, as people call it."""
        return str(self.manifest["label"])

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.manifest["seed"])

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """SHA-256 of the data."""
        return dict(self.manifest["data"].get("fingerprint") or {})

    @property
    def noise(self) -> Mapping[str, Any] | None:
        """The label noise as applied, or None when the labels are clean."""
        noise = self.manifest["data"].get("noise")
        return noise if noise and noise_share(noise) else None

    @property
    def train_seconds(self) -> float | None:
        """The training time; the sum over the epochs while the manifest does not have it yet."""
        total = self.manifest.get("train_seconds") or sum(event.get("seconds") or 0.0 for event in self.epochs)
        return float(total) or None

    @property
    def throughput(self) -> float | None:
        """Samples a second, the median over epochs: the first one pays for warming up, and a busy machine makes outliers."""
        rates = [rate for event in self.epochs if (rate := samples_per_second(event)) is not None]
        return median(rates) if rates else None

    @property
    def chosen(self) -> Which:
        """The weights to quote: the best on validation; the last ones where there is no validation to choose by."""
        return "best" if ("best", "validation") in self.scores else "last"

    def held_out(self, which: Which | None = None) -> Scores | None:
        """Return the scores of weights, by default the chosen ones, on the test split, or on validation where there is none."""
        which = which or self.chosen
        return self.scores.get((which, "test")) or self.scores.get((which, "validation"))

    def samples(self) -> "tuple[Samples, Tensor] | None":
        """Read the held-out samples that the run kept, and log-beliefs `[L+1, n, ..., C]` about them; None where it kept none.

        Raises:
            RunError: their file is damaged.
        """
        path = self.path / "samples.safetensors"
        if not path.is_file():
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from torchsid.tasks import Samples

        old = {"images": "inputs", "labels": "target"}  # as runs of version 0.1 call them
        try:
            tensors = {old.get(name, name): tensor for name, tensor in load_file(path).items()}
        except SafetensorError as error:
            raise RunError(f"{path} is not a readable safetensors file: {error}") from None
        if missing := [name for name in ("inputs", "target", "log_beliefs") if name not in tensors]:
            raise RunError(f"{path} lacks the tensors {', '.join(missing)}")
        return Samples(tensors["inputs"], tensors["target"]), tensors["log_beliefs"]


def load_run(path: str | Path) -> RunRecord:
    """Read the run directory `path`; a run that has not finished may lack its evaluation.

    Raises:
        RunError: The directory or one of its files is missing, damaged or incomplete; all such problems are named.
    """
    path = Path(path).resolve()
    if not path.is_dir():
        raise RunError(f"{path} is not a run directory; `torchsid train RECIPE --out {path.name}` makes one")
    if missing := [name for name in _REQUIRED if not (path / name).is_file()]:
        raise RunError(f"{path} is not a complete run directory: it lacks {', '.join(missing)}")
    config_text = (path / "config.toml").read_text(encoding="utf-8")
    try:
        config = tomllib.loads(config_text)
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{path / 'config.toml'} is not TOML: {error}") from None
    manifest = _manifest(path / "manifest.json")
    events = _events(path / "metrics.jsonl")
    epochs = {event["epoch"]: event for event in events if event.get("event") == "epoch" and "epoch" in event}
    return RunRecord(
        path=path,
        config_text=config_text,
        config=config,
        manifest=manifest,
        epochs=tuple(epochs[epoch] for epoch in sorted(epochs)),  # after a resume the later line of an epoch counts
        warnings=tuple(str(event.get("message", "")) for event in events if event.get("event") == "warning"),
        scores=_evaluation(path / "evaluation.json", finished=manifest["status"] == "finished"),
    )


def names_of_classes(record: RunRecord, count: int) -> Sequence[str]:
    """Return the names of `count` classes: their numbers, where the data set has none."""
    names = record.manifest["data"].get("class_names") or []
    return [str(name) for name in names] if len(names) == count else [str(number) for number in range(count)]


def noise_share(noise: Mapping[str, Any]) -> float:
    """Return the share of the labels that noise has changed, as measured, or as it was asked for."""
    return float(noise.get("share") or noise.get("measured") or noise.get("rate") or 0)


def samples_per_second(event: Mapping[str, Any]) -> float | None:
    """Return the throughput of an epoch."""
    found = event.get("samples_per_second", event.get("images_per_second"))  # the latter until version 0.1
    return None if found is None else float(found)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RunError(f"{path} holds a {type(value).__name__}; a JSON object is needed")
    return value


def _manifest(path: Path) -> dict[str, Any]:
    manifest = _json(path)
    missing = [key for key in _MANIFEST_KEYS if key not in manifest]
    if isinstance(manifest.get("data"), dict) and "name" not in manifest["data"]:
        missing.append("data.name")
    if missing:
        raise RunError(f"{path} lacks {', '.join(missing)}")
    return manifest


def _events(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
        except ValueError:
            if number == len(lines):
                break  # a run that was killed may leave half a line at the end
            raise RunError(f"{path}, line {number}, is not JSON: {line[:60]!r}") from None
        if not isinstance(event, dict):
            raise RunError(f"{path}, line {number}, is not a JSON object: {line[:60]!r}")
        events.append(event)
    return events


def _evaluation(path: Path, *, finished: bool) -> dict[tuple[str, str], Scores]:
    if not path.is_file():
        if finished:
            raise RunError(f"{path} is missing, although the manifest says that the run finished")
        return {}
    evaluation = _json(path)
    try:
        return {
            (which, split): _scores(split, int(weights["epoch"]), weights[split])
            for which in ("best", "last")
            if (weights := evaluation[which])
            for split in ("validation", "test")
            if weights.get(split)
        }
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is incomplete or damaged: {type(error).__name__} at {error}") from None


def _scores(split: str, epoch: int, entry: Mapping[str, Any]) -> Scores:
    stages, correct = len(entry["kl"]), entry.get("correct")
    by_stage = {key: value for key, value in entry.items() if isinstance(value, list) and len(value) == stages}
    return Scores(
        split=split,
        epoch=epoch,
        n=int(entry["n"]),
        by_stage={key: _floats(value) for key, value in by_stage.items() if not isinstance(value[0], list)},
        kl_quantiles={float(key): _floats(values) for key, values in sorted((entry.get("kl_quantiles") or {}).items())},
        confusion=np.array(entry.get("confusion") or np.zeros((0, 0)), dtype=np.int64),
        calibration={key: _floats(values) for key, values in (entry.get("calibration") or {}).items()},
        correct=None if correct is None else np.array([mark == "1" for mark in correct], dtype=bool),
    )


def _floats(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(float("nan") if value is None else float(value) for value in values)
