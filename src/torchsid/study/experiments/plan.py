"""What an experiment is: a question, contenders, an axis, learning rates and seeds, read from a TOML file.

The file states the small size; a table `[medium]` says what is different where data files and time are at hand.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from torchsid.errors import ConfigError, unknown_name
from torchsid.study.experiments.metrics import METRICS
from torchsid.training.schema import dotted_names, problems_of

Size = Literal["small", "medium"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Settings = dict[str, Any]

_STRICT = ConfigDict(extra="forbid")
_SHIPPED = files("torchsid.study.experiments")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Contender:
    """One side of the comparison: what it sets, and what it does not share with the others."""

    settings: Settings = field(default_factory=dict)
    """Dotted names of the configuration and their values."""
    of: str = ""
    """The contender whose learning rate this one takes over instead of being tuned; for ablations."""
    times: Positive = 1.0
    """Factor on the learning rate that was taken over."""
    seeds: list[int] = field(default_factory=list)
    """Fewer seeds than the others; empty takes all."""
    workers: Annotated[int, Field(ge=1, strict=True)] = 1
    """Processes that train one run together, started by `torchrun`."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Axis:
    """What changes along the horizontal axis: one setting with its values, or named points that set several things."""

    name: str
    """As written below the figure."""
    setting: str = ""
    """Dotted name of the setting that takes `values`. A contender that sets it itself stands beside the axis."""
    values: list[float | int | str] = field(default_factory=list)
    """In ascending order of cost."""
    points: dict[str, Settings] = field(default_factory=dict)
    """Settings by name, instead of `setting` and `values`."""
    reference: str = ""
    """The value that the first contender's others are compared with; empty compares contenders alone."""
    log: bool = False
    """Whether the figure's axis is logarithmic, to the base 2."""

    def names(self) -> tuple[str, ...]:
        """Return the values as texts, or the names of the points."""
        return tuple(self.points) or tuple(map(value_name, self.values))


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Experiment:
    """A question and the runs that answer it, of one size.

    Raises:
        ValueError: names that are not unique, do not exist, or say nothing.
    """

    name: str
    """Of the file."""
    size: Size = "small"
    """`small`: what two processor cores do with the data of the package. `medium`: with data files and more time."""
    question: str
    """What the experiment is to find out."""
    claim: str = ""
    """What has been claimed, and by whom."""
    recipe: str
    """The recipe that every run starts from."""
    settings: Settings = field(default_factory=dict)
    """What all runs set."""
    rates: Annotated[list[Positive], Field(min_length=1)]
    """Learning rates that every contender is tuned over."""
    seeds: Annotated[list[int], Field(min_length=1)]
    """Seeds of all runs; the first one is that of the tuning."""
    contenders: Annotated[dict[str, Contender], Field(min_length=1)]
    """By name; the first one is the reference of the differences."""
    axis: Axis | None = None
    """What changes besides the contender."""
    metrics: list[str] = field(default_factory=list)
    """What is shown beside the accuracy."""
    by_stage: list[Literal["accuracy", "kl", "ece"]] = field(default_factory=list)
    """What is drawn after every stage, at the last value of the axis."""
    minutes: Annotated[float, Field(ge=0)] = 0
    """The smallest budget with which this size is taken."""

    def __post_init__(self) -> None:
        if problems := [*self._doubles(), *self._unknowns(), *self._of_the_axis()]:
            raise ConfigError(problems)

    def _doubles(self) -> list[str]:
        lists: dict[str, list[Any]] = {
            "rates": self.rates,
            "seeds": self.seeds,
            "contenders (as names of directories)": [slug(name) for name in self.contenders],
            "axis values (as names of directories)": [slug(name) for name in self.axis.names()] if self.axis else [],
        }
        return [f"{what}: {value!r} stands there twice" for what, all_ in lists.items() for value in _repeated(all_)]

    def _unknowns(self) -> list[str]:
        tuned = [name for name, each in self.contenders.items() if not each.of]
        problems = [unknown_name("metric", name, METRICS) for name in self.metrics if name not in METRICS]
        for name, each in self.contenders.items():
            if each.of and each.of not in tuned:
                problems.append(f"contenders.{name}.of: {unknown_name('tuned contender', each.of, tuned)}")
            if each.times != 1 and not each.of:
                problems.append(f"contenders.{name}.times = {each.times} changes the rate of another contender: name it by `of`")
            if each.seeds and (set(each.seeds) - set(self.seeds) or self.seeds[0] not in each.seeds):
                problems.append(f"contenders.{name}.seeds = {each.seeds}: allowed are some of {self.seeds}, the first among them")
        return problems

    def _of_the_axis(self) -> list[str]:
        if not (axis := self.axis):
            return []
        problems = []
        if bool(axis.points) == bool(axis.setting and axis.values):
            problems.append("axis: give either `setting` and `values`, or `points`")
        if axis.reference and axis.reference not in axis.names():
            problems.append(f"axis.reference: {unknown_name('value', axis.reference, axis.names())}")
        return problems


def names(kind: str = "") -> dict[str, str]:
    """Return the shipped experiments, all or those of one kind: name and question, in alphabetical order.

    Args:
        kind: `training`, or what a file says by `kind`: `timing`, `memory`.
    """
    paths = sorted((entry for entry in _SHIPPED.iterdir() if entry.name.endswith(".toml")), key=lambda entry: entry.name)
    tables = {path.name.removesuffix(".toml"): tomllib.loads(path.read_text("utf-8")) for path in paths}
    return {name: table["question"] for name, table in tables.items() if kind in ("", table.get("kind", "training"))}


def load(name_or_path: str, size: Size = "small") -> Experiment:
    """Return an experiment of the given size; a file without `[medium]` has one size, and is the same in both.

    A name with a path separator or the suffix `.toml` is a file, anything else a shipped experiment.

    Raises:
        ConfigError: no such experiment, unreadable TOML, or what it says does not fit; names all problems.
    """
    name, table = read(name_or_path)
    if kind := table.get("kind"):
        problem = f"kind = {kind!r} measures costs: torchsid.study.experiments.costs.load reads it"
        raise ConfigError([problem], source=f"experiment {name!r}")
    larger = table.pop("medium", {})
    merged = _merge(table, larger) if size == "medium" else table
    return _parse(name, size if larger else "small", merged)


def choose(name_or_path: str, *, data: bool, minutes: float | None) -> Experiment:
    """Return the largest size that data and time allow: `medium` with data files and a budget of its `minutes`, or none.

    Raises:
        ConfigError: as for `load`.
    """
    medium = load(name_or_path, "medium")
    affordable = data and (minutes is None or minutes >= medium.minutes)
    return medium if affordable else load(name_or_path, "small")


def slug(name: str) -> str:
    """Return the name as part of a directory's name.

    >>> slug("SID, α 1 → 0.2")
    'sid-α-1-0.2'
    """
    return re.sub(r"[^\w.+]+", "-", name.lower()).strip("-")


def value_name(value: float | str) -> str:
    """Return the text for a value of the axis.

    >>> value_name(0.50), value_name(64), value_name("mean")
    ('0.5', '64', 'mean')
    """
    return value if isinstance(value, str) else f"{value:g}"


def read(name_or_path: str) -> tuple[str, dict[str, Any]]:
    """Return the name of an experiment and the table in its file, of whatever kind.

    Raises:
        ConfigError: no such experiment, or unreadable TOML.
    """
    path = Path(name_or_path)
    is_file = path.suffix == ".toml" or len(path.parts) > 1
    if not is_file and name_or_path not in names():
        message = unknown_name("experiment", name_or_path, names()) + "; a file of your own ends in .toml"
        raise ConfigError([message], source="experiment")
    try:
        text = path.read_text("utf-8") if is_file else (_SHIPPED / f"{name_or_path}.toml").read_text("utf-8")
        return path.stem if is_file else name_or_path, tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError([f"cannot read {name_or_path}: {reason}"], source="experiment") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{name_or_path} is not valid TOML: {error}"], source="experiment") from None


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with what `own` sets; `settings` and `axis` key by key, anything else as a whole."""
    merged = {**base, **own}
    for key in ("settings", "axis"):
        if key in base and key in own:
            merged[key] = {**base[key], **own[key]}
    return merged


def _parse(name: str, size: Size, table: Mapping[str, Any]) -> Experiment:
    contenders = {key: _contender(each) for key, each in table.get("contenders", {}).items()}
    try:
        return TypeAdapter(Experiment).validate_python({**table, "contenders": contenders, "name": name, "size": size})
    except ValidationError as error:
        raise ConfigError(problems_of(error, dotted_names(Experiment)), source=f"experiment {name!r}") from None


def _contender(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a contender's table with its settings, whose names have a dot, in a table of their own."""
    own = {key: value for key, value in table.items() if "." not in key}
    return {**own, "settings": {key: value for key, value in table.items() if "." in key}}


def _repeated(values: list[Any]) -> list[Any]:
    return [value for value in dict.fromkeys(values) if values.count(value) > 1]
