"""What an experiment is: a question, contenders, an axis, learning rates and seeds, read from a TOML file.

The file states the small size; a table `[medium]` says what is different where data files and time are at hand.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from torchsid.errors import ConfigError, unknown_name
from torchsid.study.frame import METRICS
from torchsid.training.recipes import dotted_names, is_a_file, problems_of
from torchsid.training.toml import read_toml

T = TypeVar("T")
Size = Literal["small", "medium"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Settings = dict[str, Any]
StageMetric = Literal["return", "accuracy", "mae", "kl", "ece", "agreement", "coverage"]

NO_OTHERS = ConfigDict(extra="forbid")
_SHIPPED = files("torchsid.study.experiments")


@dataclass(frozen=True, kw_only=True, config=NO_OTHERS)
class ContenderConfig:
    """One side of the comparison: what it sets, and what it does not share with the others."""

    settings: Settings = field(default_factory=dict)  # dotted names of the configuration and their values
    of: str = ""  # the contender whose learning rate this one takes over instead of being tuned; for ablations
    times: Positive = 1.0  # factor on the learning rate that was taken over
    seeds: list[int] = field(default_factory=list)  # fewer seeds than the others; empty takes all
    workers: Annotated[int, Field(ge=1, strict=True)] = 1  # processes that train one run together, as those of `torchrun` do


def _with_settings_apart(table: object) -> object:
    """Return a contender's table with its settings, whose names have a dot, in a table of their own."""
    if not isinstance(table, dict):
        return table
    settings = {key: value for key, value in table.items() if "." in key}
    rest = {key: value for key, value in table.items() if key not in settings}
    return {**rest, "settings": settings} if settings else rest


_Contender = Annotated[ContenderConfig, BeforeValidator(_with_settings_apart)]


@dataclass(frozen=True, kw_only=True, config=NO_OTHERS)
class Axis:
    """What changes along the horizontal axis: one setting with its values, or named points that set several things."""

    name: str  # as written below the figure
    setting: str = ""  # dotted name of the setting that takes `values`; a contender that sets it itself stands beside the axis
    values: list[float | int | str] = field(default_factory=list)  # in ascending order of cost
    points: dict[str, Settings] = field(default_factory=dict)  # settings by name, instead of `setting` and `values`
    reference: str = ""  # the value that the first contender's others are compared with; empty compares contenders alone
    log: bool = False  # whether the figure's axis is logarithmic, to the base 2


@dataclass(frozen=True, kw_only=True, config=NO_OTHERS)
class Experiment:
    """A question and the runs that answer it, of one size; a ValueError where names double, do not exist, or say nothing."""

    name: str  # of the file
    size: Size = "small"  # `small`: for two cores and the data of the package; `medium`: with data files and more time
    question: str  # what the experiment is to find out
    claim: str = ""  # what has been claimed, and by whom
    recipe: str  # the recipe that every run starts from
    settings: Settings = field(default_factory=dict)  # what all runs set
    rates: Annotated[list[Positive], Field(min_length=1)]  # learning rates that every contender is tuned over
    seeds: Annotated[list[int], Field(min_length=1)]  # seeds of all runs; the first one is that of the tuning
    contenders: Annotated[dict[str, _Contender], Field(min_length=1)]  # by name; the first one is the reference of the differences
    axis: Axis | None = None  # what changes besides the contender
    metrics: list[str] = field(default_factory=list)  # what is shown beside the accuracy
    by_stage: list[StageMetric] = field(default_factory=list)  # drawn by stage, at the last point of the axis
    step_rounds: Annotated[int, Field(ge=0, strict=True)] = 0  # in which a step of each is timed, in turns, at the end
    minutes: Annotated[float, Field(ge=0)] = 0  # the smallest budget with which this size is taken

    def __post_init__(self) -> None:
        if problems := [*self._doubles(), *self._contradictions()]:
            raise ConfigError(problems)

    @property
    def points(self) -> tuple[str, ...]:
        """The points of the axis, by name, or its values as texts; none without one."""
        axis = self.axis or Axis(name="")
        return tuple(axis.points) or tuple(value if isinstance(value, str) else f"{value:g}" for value in axis.values)

    def _doubles(self) -> Iterator[str]:
        lists: dict[str, list[Any]] = {
            "rates": self.rates,
            "seeds": self.seeds,
            "contenders (as names of directories)": [slug(name) for name in self.contenders],
            "axis values (as names of directories)": [slug(name) for name in self.points],
        }
        for what, values in lists.items():
            yield from (f"{what}: {value!r} stands there twice" for value, count in Counter(values).items() if count > 1)

    def _contradictions(self) -> Iterator[str]:
        tuned = [name for name, each in self.contenders.items() if not each.of]
        yield from (unknown_name("metric", name, METRICS) for name in self.metrics if name not in METRICS)
        for name, each in self.contenders.items():
            if each.of and each.of not in tuned:
                yield f"contenders.{name}.of: {unknown_name('tuned contender', each.of, tuned)}"
            if each.times != 1 and not each.of:
                yield f"contenders.{name}.times = {each.times} changes the rate of another contender: name it by `of`"
            if each.seeds and (set(each.seeds) - set(self.seeds) or self.seeds[0] not in each.seeds):
                yield f"contenders.{name}.seeds = {each.seeds}: allowed are some of {self.seeds}, the first among them"
        if axis := self.axis:
            if bool(axis.points) == bool(axis.setting and axis.values):
                yield "axis: give either `setting` and `values`, or `points`"
            if axis.reference and axis.reference not in self.points:
                yield f"axis.reference: {unknown_name('value', axis.reference, self.points)}"


def names() -> dict[str, str]:
    """Return the shipped experiments: name and question, in alphabetical order."""
    stems = sorted(entry.name.removesuffix(".toml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".toml"))
    return {name: read(name)[1]["question"] for name in stems}


def read(name_or_path: str) -> tuple[str, dict[str, Any]]:
    """Return the name of an experiment and the table in its file, of whatever kind; a ConfigError where it cannot be read.

    A name with a path separator or the suffix `.toml` is a file, anything else a shipped experiment.
    """
    path = Path(name_or_path)
    if is_a_file(name_or_path):
        return path.stem, read_toml(path, name_or_path, source="experiment")
    if f"{name_or_path}.toml" not in {entry.name for entry in _SHIPPED.iterdir()}:
        unknown = unknown_name("experiment", name_or_path, names())
        raise ConfigError([f"{unknown}; a file of your own ends in .toml"], source="experiment")
    return name_or_path, read_toml(_SHIPPED / f"{name_or_path}.toml", name_or_path, source="experiment")


def load(name_or_path: str, size: Size = "small") -> Experiment:
    """Return an experiment of a size, see `read` and `validated`; a file without `[medium]` has one, the same in both."""
    name, table = read(name_or_path)
    medium = table.pop("medium", {})
    if size == "medium":
        # Of `settings` and `axis` the larger size says what differs, anything else it says anew.
        table |= medium | {key: {**table.get(key, {}), **medium[key]} for key in ("settings", "axis") if key in medium}
    return validated(Experiment, {**table, "name": name, "size": size if medium else "small"}, "contenders")


def validated(kind: type[T], table: Mapping[str, Any], *inner: str) -> T:
    """Return a table as what it is to be; a ConfigError names all that does not fit, of the sections `inner` by the entry."""
    try:
        return TypeAdapter(kind).validate_python(table)
    except ValidationError as error:
        known = {key: section for key, section in dotted_names(kind).items() if key not in inner}
        raise ConfigError(problems_of(error, known), source=f"experiment {table['name']!r}") from None


def choose(name_or_path: str, *, data: bool, minutes: float | None) -> Experiment:
    """Return the largest size that data and time allow, see `load`: `medium` with data files and its minutes as budget, or none."""
    medium = load(name_or_path, "medium")
    affordable = data and (minutes is None or minutes >= medium.minutes)
    return medium if affordable else load(name_or_path)


def slug(name: str) -> str:
    """Return the name as part of a directory's name.

    >>> slug("SID, α 1 → 0.2")
    'sid-α-1-0.2'
    """
    return re.sub(r"[^\w.+]+", "-", name.lower()).strip("-")
