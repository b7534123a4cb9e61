"""A run directory, read into typed, immutable records; every gap is reported by name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Required

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from torchsid.errors import ConfigError, RunError, printable
from torchsid.training.config import sha256_of_table
from torchsid.training.toml import read_toml

if TYPE_CHECKING:
    from torch import Tensor

    from torchsid.tasks import Floor, Samples
    from torchsid.training.run import RunDirectory, Which

_MANIFEST_KEYS = ("torchsid", "status", "label", "recipe", "seed", "versions", "hardware", "data")


class _Validation(TypedDict):
    accuracy: Annotated[list[float], Len(1)]
    kl: Annotated[list[float], Len(1)]


class _Epoch(TypedDict, total=False):
    """What tables and plots read of an epoch's line in metrics.jsonl."""

    epoch: Required[int]
    train_loss: float | None
    train_accuracy: list[float] | None
    validation: _Validation | None
    seconds: float | None
    samples_per_second: float | None
    memory_mib: float | None
    conflict: list[list[float]] | None
    descent: list[float] | None


_EPOCH = TypeAdapter(_Epoch)


@dataclass(frozen=True)
class Scores:
    """How one set of weights answers one split; what a run did not record is empty."""

    split: str
    n: int
    by_stage: Mapping[str, tuple[float, ...]]  # `accuracy`, `kl` in nats, `ece`, the domain's, each `[L+1]`: index 0 is the prior
    kl_quantiles: Mapping[float, tuple[float, ...]]  # quantile in (0, 1) to `[L+1]`
    confusion: NDArray[np.int64]  # `[C, C]`, rows are the true classes; the last stage
    calibration: Mapping[str, tuple[float, ...]]  # `confidence`, `accuracy`, `count`: one number a bin of confidence
    correct: NDArray[np.bool_] | None  # whether the last stage is right, `[N]` in the order of the data set
    answers: tuple[int, ...] = ()  # of the last stage, `[N]` as well
    groups: tuple[float, ...] = ()  # accuracy of the last stage in each group of the samples, if they have any

    def last(self, metric: str) -> float:
        """Return a number of the last stage; NaN where there is none."""
        return self.by_stage.get(metric, (float("nan"),))[-1]


class Passage(NamedTuple):
    """P held-out tokens in a row, and for every belief `p_0 … p_L` the likeliest token and the log-probabilities of both."""

    target: "Tensor"  # `[P]`
    guess: "Tensor"  # `[L+1, P]`, as are the others
    log_guess: "Tensor"
    log_target: "Tensor"


class Named(NamedTuple):
    """What people call the samples of a split, and the class of each."""

    names: Sequence[str]
    target: Sequence[int]


@dataclass(frozen=True, eq=False)
class RunRecord:
    """All that a run says of itself."""

    path: Path
    config_text: str
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]  # the events of epochs in order, one an epoch
    warnings: tuple[str, ...]
    scores: Mapping[tuple[str, str], Scores]  # by weights (`best`, `last`) and split; empty without an evaluation
    floor: "Floor | None" = None  # what a rival without a network reaches
    named: "Mapping[str, Named]" = field(default_factory=dict)  # names of the samples by split, if they have any

    @property
    def name(self) -> str:
        """The name of the run's directory."""
        return self.path.name

    @property
    def label(self) -> str:
        """The method, as people call it."""
        return printable(str(self.manifest["label"]))

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.manifest["seed"])

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """SHA-256 of the data."""
        return dict(self.manifest["data"].get("fingerprint") or {})

    @property
    def data_name(self) -> str:
        """What the data are called: of named files, such as photos, their folder."""
        folder = self.config.get("data", {}).get("path") if self.named else ""
        return printable(Path(folder).resolve().name) if folder else str(self.manifest["data"]["name"])

    @property
    def noise_share(self) -> float:
        """The share of the labels that noise has changed, as measured, or as it was asked for; 0 when the labels are clean."""
        noise = self.manifest["data"].get("noise") or {}
        return float(noise.get("share") or noise.get("measured") or noise.get("rate") or 0)

    @property
    def chosen(self) -> "Which":
        """The weights to quote: the best on validation; the last ones where there is no validation to choose by."""
        return "best" if ("best", "validation") in self.scores else "last"

    def held_out(self, which: "Which | None" = None) -> Scores | None:
        """Return the scores of weights, by default the chosen ones, on the test split, or on validation where there is none."""
        which = which or self.chosen
        return self.scores.get((which, "test")) or self.scores.get((which, "validation"))

    def samples(self) -> "tuple[Samples, Tensor] | None":
        """Read the held-out samples that the run kept, and log-beliefs `[L+1, n, ..., C]` about them; None where it kept none."""
        from torchsid.tasks import Samples

        path = self.path / "samples.safetensors"
        tensors = _tensors(path)
        if tensors is None:
            return None
        try:
            inputs, target, log_beliefs = (tensors[name] for name in ("inputs", "target", "log_beliefs"))
            weight = tensors.get("weight")
            names = self.named.get("validation" if self.manifest["data"].get("validation") else "test")
            chosen = names and tuple(names.names[index] for index in tensors["indices"].tolist())
        except (IndexError, KeyError) as error:
            raise RunError(f"{path} is damaged: {type(error).__name__} at {error}") from None
        floats = log_beliefs.is_floating_point() and log_beliefs.dim() > 2
        if not floats or not inputs.dim() or not target.dim() or not len(inputs) == len(target) == log_beliefs.shape[1]:
            shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
            raise RunError(f"{path} is damaged: {shapes} do not belong together")
        if len(target) and not target.is_floating_point() and target.max() >= (classes := log_beliefs.shape[-1]):
            raise RunError(f"{path} is damaged: target holds class {int(target.max())}, and there are {classes} classes")
        return Samples(inputs, target, weight, names=chosen), log_beliefs

    def passage(self) -> Passage | None:
        """Read the held-out tokens that the run kept, with what was believed of them; None where it kept none."""
        path = self.path / "passage.safetensors"
        tensors = _tensors(path)
        if tensors is None:
            return None
        if tensors.keys() != set(Passage._fields):
            raise RunError(f"{path} is damaged: it holds {', '.join(sorted(tensors))}")
        found = Passage(**tensors)
        if found.target.dim() != 1 or any(each.shape[1:] != found.target.shape or len(each) < 2 for each in found[1:]):
            shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
            raise RunError(f"{path} is damaged: {shapes} do not belong together")
        return found


def load_run(path: str | Path) -> RunRecord:
    """Read the run directory `path`; a run that has not finished may lack its evaluation. A RunError names all that is damaged."""
    from torchsid.training.run import open_run

    run = open_run(Path(path).resolve())
    manifest = run.manifest()
    missing = [key for key in _MANIFEST_KEYS if key not in manifest]
    missing += [key for key in ("versions", "hardware", "data") if key in manifest and not isinstance(manifest[key], dict)]
    missing += ["data.name"] if isinstance(data := manifest.get("data"), dict) and "name" not in data else []
    if missing:
        raise RunError(f"{run.path / 'manifest.json'} lacks {', '.join(missing)}")
    try:
        config = read_toml(run.config_file, str(run.config_file), source="run")
    except ConfigError as error:
        raise RunError(error.problems[0]) from None
    if manifest.get("config_sha256") not in (None, sha256_of_table(config)):
        raise RunError(f"{run.config_file} was changed after the run began: restore it from a copy")
    events, epochs = run.metrics(), dict[int, Mapping[str, Any]]()
    for number, event in enumerate(events, 1):
        if event.get("event") == "epoch":
            try:
                epochs[_EPOCH.validate_python(event, strict=True)["epoch"]] = event
            except ValidationError as error:
                where = ".".join(map(str, error.errors()[0]["loc"]))
                raise RunError(f"{run.metrics_file}, line {number} is damaged: {where}; restore it from a copy") from None
    return RunRecord(
        path=run.path,
        config_text=run.config_file.read_text(encoding="utf-8"),
        config=config,
        manifest=manifest,
        epochs=tuple(epochs[epoch] for epoch in sorted(epochs)),  # after a resume the later line of an epoch counts
        warnings=tuple(str(event.get("message", "")) for event in events if event.get("event") == "warning"),
        **_evaluated(run, finished=manifest["status"] == "finished"),
        named=_named(run.path / "names.json"),
    )


def _tensors(path: Path) -> "dict[str, Tensor] | None":
    """Return what a file of tensors holds; None where there is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} is damaged: {type(error).__name__} at {error}") from None


def names_of_classes(record: RunRecord, count: int) -> Sequence[str]:
    """Return the names of `count` classes: their numbers, where the data set has none."""
    names = record.manifest["data"].get("class_names") or []
    return [str(name) for name in names] if len(names) == count else [str(number) for number in range(count)]


def _named(path: Path) -> dict[str, Named]:
    try:
        parts = {split: Named(**part) for split, part in json.loads(path.read_text("utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from None
    if wrong := [split for split, part in parts.items() if len(part.names) != len(part.target)]:
        raise RunError(f"{path} is damaged: not a class for every name of {', '.join(wrong)}")
    return parts


def _evaluated(run: "RunDirectory", *, finished: bool) -> dict[str, Any]:
    """Return the scores of a run, and the floor beside them."""
    from torchsid.tasks import Floor

    path = run.path / "evaluation.json"
    if not finished and not path.is_file():
        return {"scores": {}}
    evaluation = run.evaluation()
    try:
        scores = {
            (which, split): _scores_of(split, weights[split])
            for which in ("best", "last")
            if (weights := evaluation[which])
            for split in ("validation", "test")
            if weights.get(split)
        }
        return {"scores": scores, "floor": Floor(**evaluation["floor"]) if "floor" in evaluation else None}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise RunError(f"{path} is incomplete or damaged: {type(error).__name__} at {error}") from None


def _scores_of(split: str, entry: Mapping[str, Any]) -> Scores:
    stages, correct = len(entry["kl"]), entry.get("correct")
    if "mae" in (own := entry.get("scores") or {}):  # outcomes are bins of a number, and which of them is hit says little
        entry, correct = {key: entry[key] for key in ("n", "kl", "kl_quantiles", "scores")}, None
    numbers = {**entry, **own}  # those of the domain stand apart
    by_stage = {key: value for key, value in numbers.items() if isinstance(value, list) and len(value) == stages}
    return Scores(
        split=split,
        n=int(entry["n"]),
        by_stage={key: _floats(value) for key, value in by_stage.items() if not isinstance(value[0], list)},
        kl_quantiles={float(key): _floats(values) for key, values in sorted((entry.get("kl_quantiles") or {}).items())},
        confusion=np.array(entry.get("confusion") or np.zeros((0, 0)), dtype=np.int64),
        calibration={key: _floats(values) for key, values in (entry.get("calibration") or {}).items()},
        correct=None if correct is None else np.array([mark == "1" for mark in correct], dtype=bool),
        answers=tuple(entry.get("answers") or ()),
        groups=_floats([*(entry.get("groups") or {}).values()]),
    )


def _floats(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(float("nan") if value is None else float(value) for value in values)
