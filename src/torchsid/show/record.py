"""A run directory, read once into typed, immutable records; every gap is reported by name."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchsid.errors import RunError

_REQUIRED = ("config.toml", "manifest.json", "metrics.jsonl")
_MANIFEST_KEYS = ("torchsid", "status", "label", "recipe", "seed", "versions", "hardware", "data")


@dataclass(frozen=True)
class Split:
    """How one set of weights answers one split: L stages, index 0 of `[L+1]` being the prior."""

    n: int
    accuracy: tuple[float, ...]  # [L+1]
    kl: tuple[float, ...]  # [L+1] mean KL(target || p_i) in nats
    ece: tuple[float, ...]  # [L+1] expected calibration error
    confusion: NDArray[np.int64]  # [C, C] rows are the true classes; the last stage
    calibration: Mapping[str, tuple[float, ...]]  # confidence, accuracy, count: [bins] each
    correct: NDArray[np.bool_] | None  # [N] the last stage, in the order of the data set
    kl_quantiles: Mapping[float, tuple[float, ...]]  # quantile in (0, 1) -> [L+1]


@dataclass(frozen=True)
class Weights:
    """One saved set of weights: the epoch it is of, and what it reaches."""

    epoch: int
    validation: Split | None
    test: Split | None

    @property
    def held_out(self) -> Split | None:
        """The test split, or validation where there is no test split."""
        return self.test if self.test is not None else self.validation


@dataclass(frozen=True)
class Samples:
    """A few held-out images with the belief of every stage."""

    images: NDArray[np.uint8]  # [n, C, H, W]
    labels: NDArray[np.int64]  # [n]
    beliefs: NDArray[np.float64]  # [L+1, n, classes] probabilities
    indices: NDArray[np.int64]  # [n] position in the data set


@dataclass(frozen=True, eq=False)
class RunRecord:
    """All that the report says about one run. `best` and `last` are None until the run has been evaluated."""

    path: Path
    config_text: str
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]  # the "epoch" events in order, one an epoch
    warnings: tuple[str, ...]
    best: Weights | None
    last: Weights | None
    samples: Samples | None

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
    def finished(self) -> bool:
        """Whether the training ran to its end."""
        return bool(self.manifest["status"] == "finished")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the C classes."""
        return tuple(str(name) for name in self.manifest["data"]["class_names"])

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """SHA-256 of every data file."""
        return dict(self.manifest["data"].get("fingerprint") or {})

    @property
    def noise(self) -> Mapping[str, Any] | None:
        """The label noise as applied, or None when the labels are clean."""
        noise = self.manifest["data"].get("noise")
        return noise if noise and (noise.get("rate") or noise.get("measured")) else None

    @property
    def train_seconds(self) -> float | None:
        """The training time; the sum over the epochs while the manifest does not have it yet."""
        total = self.manifest.get("train_seconds") or sum(event.get("seconds") or 0.0 for event in self.epochs)
        return float(total) or None

    @property
    def chosen(self) -> Weights | None:
        """The weights to quote: the best on validation; the last ones where there is no validation to choose by."""
        return self.best if self.best is not None and self.best.validation is not None else self.last


def load_run(path: str | Path) -> RunRecord:
    """Read the run directory `path`; a run that has not finished may lack its evaluation and samples.

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
    best, last = _evaluation(path / "evaluation.json", finished=manifest["status"] == "finished")
    epochs = {event["epoch"]: event for event in events if event.get("event") == "epoch" and "epoch" in event}
    return RunRecord(
        path=path,
        config_text=config_text,
        config=config,
        manifest=manifest,
        epochs=tuple(epochs[epoch] for epoch in sorted(epochs)),  # after a resume the later line of an epoch counts
        warnings=tuple(str(event.get("message", "")) for event in events if event.get("event") == "warning"),
        best=best,
        last=last,
        samples=_samples(path / "samples.safetensors"),
    )


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
    if isinstance(manifest.get("data"), dict):
        missing += [f"data.{key}" for key in ("name", "class_names") if key not in manifest["data"]]
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


def _evaluation(path: Path, *, finished: bool) -> tuple[Weights | None, Weights | None]:
    if not path.is_file():
        if finished:
            raise RunError(f"{path} is missing, although the manifest says that the run finished")
        return None, None
    evaluation = _json(path)
    try:
        return _weights(evaluation["best"]), _weights(evaluation["last"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is incomplete or damaged: {type(error).__name__} at {error}") from None


def _weights(entry: Mapping[str, Any] | None) -> Weights | None:
    if entry is None:
        return None
    return Weights(int(entry["epoch"]), _split(entry.get("validation")), _split(entry.get("test")))


def _split(entry: Mapping[str, Any] | None) -> Split | None:
    if entry is None:
        return None
    correct = entry.get("correct")
    return Split(
        n=int(entry["n"]),
        accuracy=_floats(entry["accuracy"]),
        kl=_floats(entry["kl"]),
        ece=_floats(entry["ece"]),
        confusion=np.array(entry["confusion"], dtype=np.int64),
        calibration={key: _floats(entry["calibration"][key]) for key in ("confidence", "accuracy", "count")},
        correct=None if correct is None else np.array([mark == "1" for mark in correct], dtype=bool),
        kl_quantiles={float(key): _floats(values) for key, values in sorted((entry.get("kl_quantiles") or {}).items())},
    )


def _floats(values: list[float | None]) -> tuple[float, ...]:
    return tuple(float("nan") if value is None else float(value) for value in values)


def _samples(path: Path) -> Samples | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        beliefs = np.exp(tensors["log_beliefs"].astype(np.float64))
        return Samples(tensors["inputs"], tensors["target"], beliefs, tensors["indices"])
    except KeyError as error:
        raise RunError(f"{path} lacks the tensor {error}") from None
    except SafetensorError as error:
        raise RunError(f"{path} is not a readable safetensors file: {error}") from None
