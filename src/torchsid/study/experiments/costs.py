"""The experiments `timing` and `memory`: what a step costs, and no training. Lists of workloads, which `torchsid.bench` measures.

experiment = costs.load("timing")
result = costs.run(experiment, Path("experiments/timing-small"))
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from torchsid.bench.comparisons import possible_stages
from torchsid.bench.contenders import BACKPROP, BASES, CHECKPOINTING, SID, TWO_PHASE, Procedure, contenders
from torchsid.bench.recorder import PARTS, bound, serial_share, shares
from torchsid.bench.rows import Rounds, step_seconds
from torchsid.bench.steps import take_rounds
from torchsid.bench.trainable import build
from torchsid.bench.turns import ratios, spread
from torchsid.bench.workload import SHARED, Workload
from torchsid.core.side_effects import threads
from torchsid.errors import ConfigError
from torchsid.study.experiments.experiment import read
from torchsid.training.durable import replace_file
from torchsid.training.provenance import now, provenance
from torchsid.training.recipes import dotted_names, problems_of

Count = Annotated[int, Field(ge=1)]
Found = dict[str, Any]

MEASURED = "measured.jsonl"
LEAST = {"timing": 1, "memory": 2}
"""Places of every axis that no budget takes away: a single one shows no growth."""
_STRICT = ConfigDict(extra="forbid")
_WORKERS = (2, 4)  # and as many as there are stages


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Shared:
    """The paper's network: an extractor, then stages that all read its features. Images are random."""

    extractor: str
    depths: Annotated[list[Count], Field(min_length=1)]
    """Numbers of stages L, in ascending order of cost."""
    widths: list[Count] = field(default_factory=list)
    """Widths of the hidden layers to go through, with `depth` stages."""
    depth: Count = 16
    hidden: Count = 256
    """Width of the hidden layers while the depth changes."""
    batch_size: Count = 128
    image_size: Count = 32
    classes: Annotated[int, Field(ge=2)] = 10


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Staged:
    """A classifier that is itself cut into stages. Images are random."""

    model: str
    stages: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)]
    """Their numbers, in ascending order."""
    windows: list[Count] = field(default_factory=list)
    """Windows w to go through, with the most stages."""
    blocks: Count | None = None
    width: Count | None = None
    batch_size: Annotated[int, Field(ge=8)] = 128  # four micro-batches of two images, which BatchNorm needs
    image_size: Count = 32
    classes: Annotated[int, Field(ge=2)] = 10


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Costs:
    """A question about costs: `timing` says where the time of a step goes, `memory` what a step keeps for backward."""

    kind: Literal["timing", "memory"]
    name: str
    """Of the file."""
    question: str
    claim: str = ""
    """What has been claimed, and by whom."""
    threads: Count = 1
    """Of PyTorch."""
    rounds: Annotated[int, Field(ge=2)] = 8
    """Of `timing`: counted rounds of every workload; quartiles need two."""
    shared: list[Shared] = field(default_factory=list)
    staged: list[Staged] = field(default_factory=list)
    size: ClassVar[str] = "small"  # the one that there is

    def __post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise ConfigError(problems)


class Point(NamedTuple):
    """A workload, and its place on an axis along which the network stays the same."""

    network: str
    axis: str
    """`depth`, `width`, `stages` or `window`."""
    value: int
    place: int
    """On its axis, from 0; larger ones cost more."""
    workload: Workload
    contenders: tuple[Procedure, ...]


class Result(NamedTuple):
    """A finished experiment."""

    experiment: Costs
    rows: Sequence[Found]
    """Tidy: one a number; see `COLUMNS`."""
    dropped: Sequence[str]
    """What the budget did not allow, in words."""
    command: str
    provenance: Mapping[str, Any]
    finished: str
    """When the last number was measured: ISO 8601, UTC."""


COLUMNS = {
    **dict.fromkeys(("network", "axis", "contender", "method", "quantity", "of"), "string"),
    **dict.fromkeys(("value", "stages", "batch_size", "rounds"), "int64"),
    **dict.fromkeys(("median", "low", "high"), "float64"),
}
"""Of a row, with Arrow's types. Quartiles are over the rounds, ratios taken within a round; what is counted, is counted once."""


def is_cost(name_or_path: str) -> bool:
    """Return whether an experiment measures steps instead of training: its file says a kind.

    Raises:
        ConfigError: no such experiment, or unreadable TOML.
    """
    return "kind" in read(name_or_path)[1]


def load(name_or_path: str) -> Costs:
    """Return the experiment `timing`, `memory`, or one of a file with a `kind`.

    Raises:
        ConfigError: no such experiment, unreadable TOML, or what it says does not fit; names all problems.
    """
    name, table = read(name_or_path)
    try:
        return TypeAdapter(Costs).validate_python({**table, "name": name})
    except ValidationError as error:
        names = {key: section for key, section in dotted_names(Costs).items() if key not in ("shared", "staged")}
        raise ConfigError(problems_of(error, names), source=f"experiment {name!r}") from None


def points(experiment: Costs) -> Iterator[Point]:
    """Yield what is measured, axis by axis; of `timing` a classifier's stages are one point, measured in the same turns."""
    for each in experiment.shared:
        one, name = _workload(each, model=SHARED, extractor=each.extractor, stages=(each.depth,)), f"{each.extractor} extractor"
        depths = [replace(one, stages=(depth,), width=each.hidden) for depth in each.depths]
        yield from _along("depth", name, each.depths, depths)
        yield from _along("width", f"{name}, L = {each.depth}", each.widths, [replace(one, width=width) for width in each.widths])
    for cut in experiment.staged:
        one = _workload(cut, model=cut.model, stages=tuple(cut.stages), blocks=cut.blocks, width=cut.width)
        most = max(cut.stages)
        if experiment.kind == "timing":
            yield from _along("stages", one.title, [most], [one])
            continue
        yield from _along("stages", one.title, cut.stages, [replace(one, stages=(stages,)) for stages in cut.stages])
        for point in _along(
            "window", f"{one.title}, {most} stages", cut.windows, len(cut.windows) * [replace(one, stages=(most,))]
        ):
            against = (Procedure(BACKPROP), Procedure(CHECKPOINTING, most), Procedure(SID, most, window=point.value))
            yield point._replace(contenders=against)


def _workload(network: Shared | Staged, **more: Any) -> Workload:
    return Workload(batch_size=network.batch_size, image_size=network.image_size, classes=network.classes, **more)


def _along(axis: str, network: str, values: Sequence[int], workloads: Sequence[Workload]) -> Iterator[Point]:
    for place, (value, workload) in enumerate(zip(values, workloads, strict=True)):
        yield Point(network, axis, value, place, workload, tuple(contenders(workload)))


def run(
    experiment: Costs, out: Path, *, minutes: float | None = None, command: str = "", say: Callable[[str], None] = print
) -> Result:
    """Measure what is missing, in this process, and return all of it.

    The smallest points of all axes go first, until the time is up.

    Args:
        experiment: from `load`.
        out: its folder, which keeps what was measured; a change of settings, versions or machine measures anew.
        minutes: the budget. None measures everything.
        command: what was typed.
        say: called with one line a point.

    Raises:
        ConfigError: a network cannot be built or cut as asked; names all problems, before anything is measured.
        RunError: `out` cannot be written.
    """
    everything = list(points(experiment))
    if problems := dict.fromkeys(why for point in everything for why in possible_stages(point.workload)[1]):
        raise ConfigError(list(problems), source="experiment")
    found: dict[Point, Found] = {}
    with threads(experiment.threads):
        origin, start = provenance(), time.perf_counter()
        measured = Measured(out / MEASURED, {key: origin[key] for key in ("versions", "hardware")})
        for point in sorted(everything, key=lambda each: each.place):
            late = minutes is not None and time.perf_counter() - start > 60 * minutes
            asked: Found = {"kind": experiment.kind, "rounds": experiment.rounds, "workload": asdict(point.workload)}
            asked["contenders"] = [asdict(each) for each in point.contenders]
            known = measured.find(asked)
            if known is None and late and point.place >= LEAST[experiment.kind]:
                continue
            found[point] = known or measured.add(asked, _measure(point, experiment))
            say(f"{point.network:36s} {point.axis} {point.value:<5d} {'already there' if known else ''}".rstrip())
    return Result(
        experiment=experiment,
        rows=[row for point in everything if point in found for row in _rows(point, found[point])],
        dropped=[f"{point.axis} {point.value} of {point.network}" for point in everything if point not in found],
        command=command,
        provenance=origin,
        finished=max(line["date"] for line in measured.lines),
    )


class Measured:
    """What was measured so far, a line each: a killed experiment goes on with what is missing. A broken line counts for nothing.

    Args:
        path: of the lines; made when the first finding comes.
        environment: belongs to every question: versions, hardware. On another machine everything is measured anew.
    """

    def __init__(self, path: Path, environment: Mapping[str, Any]) -> None:
        self.path, self.environment = path, environment
        self.lines: list[Found] = []
        for text in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else ():
            with suppress(ValueError, KeyError, TypeError):
                line = json.loads(text)
                self.lines.append({key: line[key] for key in ("asked", "date", "found")})

    def find(self, asked: Mapping[str, Any]) -> Found | None:
        """Return what was found, or None."""
        question = self._question(asked)
        return next((line["found"] for line in self.lines if line["asked"] == question), None)

    def add(self, asked: Mapping[str, Any], found: Found) -> Found:
        """Keep a finding, and return it.

        Raises:
            RunError: the file cannot be written.
        """
        self.lines.append({"asked": self._question(asked), "date": now(), "found": found})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in self.lines))
        return found

    def _question(self, asked: Mapping[str, Any]) -> Found:
        question: Found = json.loads(json.dumps({**asked, "environment": self.environment}))  # lists for tuples, as after reading
        return question


def _problems(experiment: Costs) -> Iterator[str]:
    if not experiment.shared and not experiment.staged:
        yield "nothing to measure: give a network, [[shared]] or [[staged]]"
    for kind, networks in (("shared", experiment.shared), ("staged", experiment.staged)):
        for place, network in enumerate(networks):
            for name, values in vars(network).items():
                given = f"{kind}.{place}.{name} = {values}"
                if isinstance(values, list) and values != sorted(set(values)):
                    yield f"{given}: give each number once, in ascending order"
                if experiment.kind == "timing" and name in ("widths", "windows") and values:
                    yield f"{given}: only kind = 'memory' goes through them"
                if name == "windows" and max(values, default=1) > (most := max(vars(network)["stages"])):
                    yield f"{given}: allowed is 1 to {most}, the most stages"


def _measure(point: Point, experiment: Costs) -> Found:
    made = {contender.name: build(point.workload, contender) for contender in point.contenders}
    if experiment.kind == "timing":
        return {"rounds": take_rounds(made, experiment.rounds)}
    return {"kept": {name: trainable.kept_bytes() for name, trainable in made.items()}}


def _rows(point: Point, found: Found) -> Iterator[Found]:
    """Yield one row a number."""
    of_point = {"network": point.network, "axis": point.axis, "value": point.value, "batch_size": point.workload.batch_size}
    for contender in point.contenders:
        about = {**of_point, "contender": contender.name, "method": contender.method, "stages": contender.stages}
        for quantity, of, values in _quantities(contender, found):
            middle, low, high = spread(values)
            yield {**about, "rounds": len(values), "quantity": quantity, "of": of, "median": middle, "low": low, "high": high}


def _quantities(contender: Procedure, found: Found) -> Iterator[tuple[str, str | None, list[float]]]:
    """Yield each quantity, what it is measured against or a part of, and its value in every round."""
    if kept := found.get("kept"):
        yield "kept bytes", None, [kept[contender.name]]
        yield "kept over", BACKPROP, [kept[contender.name] / kept[BACKPROP]]
        return
    rounds: Rounds = found["rounds"]
    own = step_seconds(rounds[contender.name])
    yield "seconds", None, own
    yield from (("over", base, ratios(own, step_seconds(rounds[base]))) for base in BASES if base in rounds)
    if contender.method in (SID, TWO_PHASE):
        steps = [shares(step) for step in rounds[contender.name]]
        yield from (("share", part, [step[part] for step in steps]) for part in PARTS if part in steps[0])
        serial = [serial_share(step) for step in steps]
        yield "serial share", None, serial
        for workers in sorted({*(n for n in _WORKERS if n < contender.stages), contender.stages}):
            yield "bound", f"{workers} workers", [bound(share, workers) for share in serial]
