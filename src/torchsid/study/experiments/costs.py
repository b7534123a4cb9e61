"""The experiments `timing` and `memory`: what a step costs, and no training. Lists of workloads, which `torchsid.bench` measures.

experiment = costs.load("timing")
result = costs.run(experiment, Path("experiments/timing-small"))
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from torchsid.bench.comparisons import LEAST_BATCH, possible_stages
from torchsid.bench.recorder import PARTS, bound, serial_share, shares
from torchsid.bench.steps import ratios, spread, step_seconds, take_rounds
from torchsid.bench.trainable import build
from torchsid.bench.workload import BACKPROP, BASES, CHECKPOINTING, SHARED, SID, TWO_PHASE, Procedure, Workload, contenders
from torchsid.core.side_effects import threads
from torchsid.errors import ConfigError
from torchsid.settings import Count
from torchsid.study.experiments.experiment import NO_OTHERS, read, validated
from torchsid.study.files import write_file
from torchsid.training.provenance import now, provenance

Found = dict[str, Any]
MEASURED = "measured.jsonl"
LEAST = {"timing": 1, "memory": 2}  # places of every axis that no budget takes away: a single one shows no growth
_WORKERS = (2, 4)  # and as many as there are stages


@dataclass(frozen=True, kw_only=True, config=NO_OTHERS)
class Shared:
    """The paper's network: an extractor, then stages that all read its features. Images are random."""

    extractor: str
    depths: Annotated[list[Count], Field(min_length=1)]  # numbers of stages L, in ascending order of cost
    widths: list[Count] = field(default_factory=list)  # widths of the hidden layers to go through, with `depth` stages
    depth: Count = 16
    hidden: Count = 256  # width of the hidden layers while the depth changes
    batch_size: Count = 128
    image_size: Count = 32
    classes: Annotated[int, Field(ge=2)] = 10


@dataclass(frozen=True, kw_only=True, config=NO_OTHERS)
class Staged:
    """A classifier that is itself cut into stages. Images are random."""

    model: str
    stages: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)]  # their numbers, in ascending order
    windows: list[Count] = field(default_factory=list)  # windows w to go through, with the most stages
    blocks: Count | None = None
    width: Count | None = None
    batch_size: Annotated[int, Field(ge=LEAST_BATCH)] = 128
    image_size: Count = 32
    classes: Annotated[int, Field(ge=2)] = 10


@dataclass(frozen=True, kw_only=True, config=NO_OTHERS)
class Costs:
    """A question about costs: `timing` says where the time of a step goes, `memory` what a step keeps for backward."""

    kind: Literal["timing", "memory"]
    name: str  # of the file
    question: str
    claim: str = ""  # what has been claimed, and by whom
    threads: Count = 1  # of PyTorch
    rounds: Annotated[int, Field(ge=2)] = 8  # of `timing`: counted rounds of every workload; quartiles need two
    shared: list[Shared] = field(default_factory=list)
    staged: list[Staged] = field(default_factory=list)
    size: ClassVar[str] = "small"  # the one that there is

    def __post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise ConfigError(problems)


class CostPoint(NamedTuple):
    """A workload, and its place on an axis along which the network stays the same."""

    network: str
    axis: str  # `depth`, `width`, `stages` or `window`
    value: int
    place: int  # on its axis, from 0; larger ones cost more
    workload: Workload
    contenders: tuple[Procedure, ...]


COLUMNS = {
    **dict.fromkeys(("network", "axis", "contender", "method", "quantity", "of"), "string"),
    **dict.fromkeys(("value", "stages", "batch_size", "rounds"), "int64"),
    **dict.fromkeys(("median", "low", "high"), "float64"),
}
"""Of a row, with Arrow's types. Quartiles are over the rounds, ratios taken within a round; what is counted, is counted once."""


def is_cost(name_or_path: str) -> bool:
    """Return whether an experiment measures steps instead of training: its file says a kind. Raises as `read`."""
    return "kind" in read(name_or_path)[1]


def load(name_or_path: str) -> Costs:
    """Return the experiment `timing`, `memory`, or one of a file with a `kind`; a ConfigError names all that does not fit."""
    name, table = read(name_or_path)
    return validated(Costs, {**table, "name": name}, "shared", "staged")


def points(experiment: Costs) -> Iterator[CostPoint]:
    """Yield what is measured, axis by axis; of `timing` a classifier's stages are one point, measured in the same turns."""
    for each in experiment.shared:
        batch: dict[str, Any] = {"batch_size": each.batch_size, "image_size": each.image_size, "classes": each.classes}
        name, one = f"{each.extractor} extractor", Workload(model=SHARED, extractor=each.extractor, stages=(each.depth,), **batch)
        yield from _along("depth", name, {depth: replace(one, stages=(depth,), width=each.hidden) for depth in each.depths})
        yield from _along("width", f"{name}, L = {each.depth}", {width: replace(one, width=width) for width in each.widths})
    for cut in experiment.staged:
        batch = {"batch_size": cut.batch_size, "image_size": cut.image_size, "classes": cut.classes}
        one = Workload(model=cut.model, stages=tuple(cut.stages), blocks=cut.blocks, width=cut.width, **batch)
        most = max(cut.stages)
        cuts = {most: one} if experiment.kind == "timing" else {each: replace(one, stages=(each,)) for each in cut.stages}
        yield from _along("stages", one.title, cuts)
        for point in _along("window", f"{one.title}, {most} stages", dict.fromkeys(cut.windows, replace(one, stages=(most,)))):
            against = (Procedure(BACKPROP), Procedure(CHECKPOINTING, most), Procedure(SID, most, window=point.value))
            yield point._replace(contenders=against)


def _along(axis: str, network: str, workloads: Mapping[int, Workload]) -> Iterator[CostPoint]:
    for place, (value, workload) in enumerate(workloads.items()):
        yield CostPoint(network, axis, value, place, workload, tuple(contenders(workload)))


def run(
    experiment: Costs, out: Path, *, minutes: float | None = None, command: str = "", say: Callable[[str], None] = print
) -> Found:
    """Measure what is missing, in this process, and return all of it, as JSON can hold it.

    The smallest points of all axes go first, until the minutes are up. The folder `out` keeps what was measured; a change of
    settings, versions or machine measures anew. `say` is called with one line a point. A network that cannot be built or cut as
    asked is a ConfigError, before anything is measured. Of the result, `rows` are tidy, one a number, see `COLUMNS`; `ran` says
    what the budget `dropped`; `finished` is when the last number was measured.
    """
    everything = list(points(experiment))
    if problems := dict.fromkeys(why for point in everything for why in possible_stages(point.workload)[1]):
        raise ConfigError(list(problems), source="experiment")
    path, found = out / MEASURED, dict[CostPoint, Found]()
    measured = _measured(path)
    with threads(experiment.threads):
        origin, start = provenance(), time.perf_counter()
        environment = {key: origin[key] for key in ("versions", "hardware")}  # on another machine everything is measured anew
        for point in sorted(everything, key=lambda each: each.place):
            late = minutes is not None and time.perf_counter() - start > 60 * minutes
            asked: Found = {"kind": experiment.kind, "rounds": experiment.rounds, "workload": asdict(point.workload)}
            asked |= {"contenders": [asdict(each) for each in point.contenders], "environment": environment}
            key = json.dumps(asked, sort_keys=True)
            if not (known := key in measured):
                if late and point.place >= LEAST[experiment.kind]:
                    continue
                measured[key] = {"asked": asked, "date": now(), "found": _measure(point, experiment)}
                write_file(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in measured.values()))
            found[point] = measured[key]["found"]
            say(f"{point.network:36s} {point.axis} {point.value:<5d} {'already there' if known else ''}".rstrip())
    dropped = [f"{point.axis} {point.value} of {point.network}" for point in everything if point not in found]
    return {
        "command": command,
        "experiment": {**asdict(experiment), "size": experiment.size},
        "ran": {"dropped": dropped},
        **{key: origin[key] for key in ("versions", "hardware", "git")},
        "finished": max(line["date"] for line in measured.values()),
        "rows": [row for point in everything if point in found for row in _rows(point, found[point])],
    }


def _measured(path: Path) -> dict[str, Found]:
    """Return what was measured so far, by what was asked."""
    lines = map(json.loads, path.read_text("utf-8").splitlines() if path.exists() else ())
    return {json.dumps(line["asked"], sort_keys=True): line for line in lines}


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


def _measure(point: CostPoint, experiment: Costs) -> Found:
    made = {contender.name: build(point.workload, contender) for contender in point.contenders}
    if experiment.kind == "timing":
        return {"rounds": take_rounds(made, experiment.rounds)}
    return {"kept": {name: trainable.kept_bytes() for name, trainable in made.items()}}


def _rows(point: CostPoint, found: Found) -> Iterator[Found]:
    """Yield one row a number."""
    of_point = {"network": point.network, "axis": point.axis, "value": point.value, "batch_size": point.workload.batch_size}
    for contender in point.contenders:
        about = {**of_point, "contender": contender.name, "method": contender.method, "stages": contender.stages}
        for quantity, of, values in _kept(contender, found["kept"]) if "kept" in found else _times(contender, found["rounds"]):
            middle, low, high = spread(values)
            yield {**about, "rounds": len(values), "quantity": quantity, "of": of, "median": middle, "low": low, "high": high}


Quantity = tuple[str, str | None, list[float]]  # its name, what it is measured against or a part of, and its value in every round


def _kept(contender: Procedure, kept: Mapping[str, int]) -> Iterator[Quantity]:
    yield "kept bytes", None, [kept[contender.name]]
    yield "kept over", BACKPROP, [kept[contender.name] / kept[BACKPROP]]


def _times(contender: Procedure, rounds: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[Quantity]:
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
