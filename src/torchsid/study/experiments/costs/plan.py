"""What `timing` and `memory` measure, read from a TOML file that says `kind`: networks, and the sizes that they go through."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from torchsid import models
from torchsid.errors import ConfigError, unknown_name
from torchsid.study.experiments.experiment import read
from torchsid.training.schema import dotted_names, problems_of

Count = Annotated[int, Field(ge=1)]
Counts = Annotated[list[Count], Field(min_length=1)]

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Shared:
    """The paper's network: an extractor, then stages that all read its features. Images are random."""

    extractor: str
    """A name of `torchsid list models`."""
    depths: Counts
    """Numbers of stages L, in ascending order of cost."""
    hidden: Count = 256
    """Width of the stages' hidden layer."""
    batch_size: Count = 128
    image_size: Count = 32
    classes: Annotated[int, Field(ge=2)] = 10


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SharedMemory(Shared):
    """The same for `memory`, which goes through widths as well."""

    widths: list[Count] = field(default_factory=list)
    """Widths of the hidden layer to go through, with `depth` stages."""
    depth: Count = 16


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Staged:
    """A classifier that is itself cut into stages. Images are random."""

    model: str
    """A name of `torchsid list models`."""
    stages: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)]
    """Their numbers, in ascending order."""
    blocks: Count | None = None
    """Of the model `mlp`, the only one that has them."""
    width: Count | None = None
    """Of the model; its own by default."""
    batch_size: Annotated[int, Field(ge=8)] = 128  # four micro-batches of two images, which BatchNorm needs
    image_size: Count = 32
    classes: Annotated[int, Field(ge=2)] = 10


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class StagedMemory(Staged):
    """The same for `memory`, which goes through windows as well."""

    windows: list[Count] = field(default_factory=list)
    """Windows w to go through, with the most stages."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Cost:
    """What the two kinds have in common."""

    kind: str
    name: str
    """Of the file."""
    question: str
    claim: str = ""
    """What has been claimed, and by whom."""
    threads: Count = 1
    """Of PyTorch."""
    size: ClassVar[str] = "small"  # the one that there is


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Timing(Cost):
    """Where the time of a step goes.

    Raises:
        ValueError: names that do not exist, nothing to measure.
    """

    kind: Literal["timing"]
    rounds: Annotated[int, Field(ge=2)] = 8
    """Counted rounds of every network; quartiles need two."""
    shared: list[Shared] = field(default_factory=list)
    staged: list[Staged] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check(self.shared, self.staged)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Memory(Cost):
    """What a step keeps for backward.

    Raises:
        ValueError: names that do not exist, nothing to measure.
    """

    kind: Literal["memory"]
    shared: list[SharedMemory] = field(default_factory=list)
    staged: list[StagedMemory] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check(self.shared, self.staged)


_NETWORKS = ("shared", "staged")  # tables in a list: a problem names its place there
KINDS: dict[str, type[Timing] | type[Memory]] = {"timing": Timing, "memory": Memory}


def is_cost(name_or_path: str) -> bool:
    """Return whether an experiment measures steps instead of training: its file says a kind.

    Raises:
        ConfigError: no such experiment, or unreadable TOML.
    """
    return "kind" in read(name_or_path)[1]


def load(name_or_path: str) -> Timing | Memory:
    """Return the experiment `timing`, `memory`, or one of a file with a `kind`.

    Raises:
        ConfigError: no such experiment, unreadable TOML, or what it says does not fit; names all problems.
    """
    name, table = read(name_or_path)
    kind, source = table.get("kind"), f"experiment {name!r}"
    if kind not in KINDS:
        raise ConfigError([unknown_name("kind", str(kind), KINDS)], source=source)
    try:
        made: Timing | Memory = TypeAdapter(KINDS[kind]).validate_python({**table, "name": name})
    except ValidationError as error:
        names = {key: section for key, section in dotted_names(KINDS[kind]).items() if key not in _NETWORKS}
        raise ConfigError(problems_of(error, names), source=source) from None
    return made


def _check(shared: Sequence[Shared], staged: Sequence[Staged]) -> None:
    if problems := list(_problems(shared, staged)):
        raise ConfigError(problems)


def _problems(shared: Sequence[Shared], staged: Sequence[Staged]) -> Iterator[str]:
    if not shared and not staged:
        yield "nothing to measure: give a network, [[shared]] or [[staged]]"
    for place, network in enumerate(shared):
        yield from _disordered(f"shared.{place}", vars(network))
        if network.extractor not in models.names():
            yield f"shared.{place}: {unknown_name('extractor', network.extractor, models.names())}"
    for place, cut in enumerate(staged):
        where = f"staged.{place}"
        yield from _disordered(where, vars(cut))
        if cut.model not in models.classifier_names():
            yield f"{where}: {unknown_name('model', cut.model, models.classifier_names())}"
        if cut.blocks and cut.model != "mlp":
            yield f"{where}.blocks = {cut.blocks}: only the model mlp has them, not {cut.model}"
        if isinstance(cut, StagedMemory) and max(cut.windows, default=1) > max(cut.stages):
            yield f"{where}.windows = {cut.windows}: allowed is 1 to {max(cut.stages)}, the most stages"


def _disordered(where: str, settings: Mapping[str, object]) -> Iterator[str]:
    for name, values in settings.items():
        if isinstance(values, list) and values != sorted(set(values)):
            yield f"{where}.{name} = {values}: give each number once, in ascending order"
