"""The sections of the page: figures and tables, of whichever kind was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torchsid.show.figures.dots import dots
from torchsid.show.figures.growth import growth
from torchsid.show.figures.shares import shares
from torchsid.show.svg import Drawing
from torchsid.show.wording import NOTHING, Cell, Table, mebibytes
from torchsid.study.experiments.costs.memory_findings import curves
from torchsid.study.experiments.costs.parts import PARTS, bound
from torchsid.study.experiments.costs.result import MemoryRow, Result, Spread, TimingRow
from torchsid.study.experiments.costs.shared import CHAIN, PLAIN, REFERENCE
from torchsid.study.experiments.costs.staged import BP
from torchsid.study.experiments.costs.timing_findings import FORMULA
from torchsid.study.experiments.experiment import slug

_AXES = {"depth": "Stages L", "width": "Hidden width", "stages": "Stages", "window": "Window w"}
_TITLES = {"depth": "Depth", "width": "Width", "stages": "Number of stages", "window": "Window"}
_PARTS = """A shared cascade takes the paper's two phases. Extractor: its pass in phase 1, its forward and backward pass in phase 2,
and its update. Phase 1: the chain of stages without gradients, which makes the teachers. Phase 2: every stage's local loss, forward
and backward. Update: of the stages. A staged cascade has no extractor and takes one pass: its phase 1 is the forward pass of trunk
and heads, its phase 2 the backward passes of the local losses."""
_BOUND = f"""The bound is {FORMULA} for n workers. s, the serial share, is that of the step that runs one after another:
extractor and phase 1, since a stage needs the belief of the one before it, and all need the extractor. The rest, phase 2 and the
updates of the stages, is L problems that know nothing of one another. More than L workers would have nothing to do."""
_STEPS = """The reference procedure is the authors' public code: two forward passes, one summed loss, one backward pass over all
graphs. The plain network is the extractor and one linear layer. All contenders of a network update by the same optimiser: Adam for
the shared cascades, SGD with momentum for those that are cut, whose plain network is the one that is not cut."""
_KEPT = {
    "depth": """One extractor, and stages that all read its features. The reference procedure is the authors' public code: two
forward passes, one summed loss, one backward pass over all graphs. The plain network is the extractor and one linear layer.""",
    "width": "The same stages, wider: the hidden layer of each.",
    "stages": "One network, cut into more and more stages. Checkpointing keeps the inputs of as many pieces.",
    "window": "The most stages, and losses that reach back over w of them: 1 is SID, all is backpropagation with deep supervision.",
}


@dataclass(frozen=True)
class Section:
    """One section: drawings by the name of their file, tables with their captions."""

    title: str
    figures: dict[str, Drawing]
    tables: tuple[tuple[Table, str], ...]
    text: str

    @property
    def drawings(self) -> list[Drawing]:
        """The drawings alone."""
        return list(self.figures.values())


def sections(result: Result) -> list[Section]:
    """Return the sections in order."""
    return list(_of_timing(result.timing) if result.timing else _of_memory(result.memory))


def _of_timing(rows: Sequence[TimingRow]) -> Iterator[Section]:
    apart = [row for row in rows if row.serial]
    wholes = {_name(row): {part: spread[0] for part, spread in row.parts.items()} for row in apart}
    yield Section(
        "Where the time goes",
        {"parts": shares("Shares of a SID step, %", PARTS, wholes)},
        ((_parts_table(apart), "Medians over the rounds, with quartiles"),),
        _PARTS,
    )
    deepest = list({(row.kind, row.model): row for row in apart}.values())  # a line for each number of stages would be too many
    lines = {_name(row): [(n, bound(row.serial[0], n)) for n in _doublings(row.stages)] for row in deepest if row.serial}
    most = max(row.stages for row in deepest)
    title = "The most that workers can gain on one batch"
    yield Section(
        "What workers could gain",
        {"workers": growth(title, "workers", "times as fast", {**lines, "ideal": [(n, n) for n in _doublings(most)]})},
        ((_bounds_table(apart), "Medians over the rounds, with quartiles"),),
        _BOUND,
    )
    bases = {"shared": (CHAIN, "BP through the chain"), "staged": (BP, "BP, not cut")}
    over = {kind: _over(rows, kind, base) for kind, (base, _) in bases.items() if any(row.kind == kind for row in rows)}
    yield Section(
        "Whole steps, on one worker",
        {
            f"steps-{kind}": dots(f"Time of a step over that of {bases[kind][1]}", "times as long", groups)
            for kind, groups in over.items()
        },
        ((_steps_table(rows), "Medians over the rounds, with quartiles; ratios, to the others' steps, are taken within a round"),),
        _STEPS,
    )


def _over(rows: Sequence[TimingRow], kind: str, base: str) -> dict[str, dict[str, Spread]]:
    groups: dict[str, dict[str, Spread]] = {}
    for row in rows:
        if row.kind == kind and row.contender != base:
            groups.setdefault(row.network, {})[row.contender] = row.over[base]
    return groups


def _of_memory(rows: Sequence[MemoryRow]) -> Iterator[Section]:
    for axis, title in _TITLES.items():
        found = curves(rows, axis)
        if not found:
            continue
        drawings = {
            slug(f"{axis} {network}"): growth(
                f"{network}: kept for backward",
                _AXES[axis],
                "MiB",
                {name: [(x, kept / 2**20) for x, kept in line.items()] for name, line in lines.items()},
            )
            for network, lines in found.items()
        }
        own = {network: [row for row in rows if (row.axis, row.network) == (axis, network)] for network in found}
        tables = tuple((_memory_table(group, axis), _caption(group[0])) for group in own.values())
        yield Section(title, drawings, tables, _KEPT[axis])


def _caption(row: MemoryRow) -> str:
    return f"{row.network}, {row.batch_size} images: kept for backward, and over backpropagation's"


def _name(row: TimingRow) -> str:
    """Return what a step in parts is called: its network, and its stages where there are several ways to cut it."""
    return row.network if row.kind == "shared" else f"{row.network}, {row.stages} stages"


def _doublings(most: int) -> list[int]:
    return sorted({most, *(2**power for power in range(most.bit_length()))})


def _parts_table(rows: Sequence[TimingRow]) -> Table:
    columns = ("Network", "Step", *(part.capitalize() for part in PARTS), "Serial share s")
    return Table(
        columns,
        tuple(
            (
                Cell(_name(row), f"{row.batch_size} images, {row.rounds} rounds"),
                _milliseconds(row.seconds),
                *(_percent(row.parts[part]) if part in row.parts else NOTHING for part in PARTS),
                _percent(row.serial),
            )
            for row in rows
            if row.serial
        ),
    )


def _bounds_table(rows: Sequence[TimingRow]) -> Table:
    columns = ("Network", "Serial share s", "2 workers", "4 workers", "L workers", "Any number, 1 / s")
    body = []
    for row in rows:
        assert row.serial
        assert row.bounds
        few = (_times(row.bounds[n]) if n in row.bounds else NOTHING for n in (2, 4))
        most = _times(row.bounds[row.stages])
        body.append(
            (Cell(_name(row)), _percent(row.serial), *few, Cell(most.value, f"L = {row.stages}"), Cell(f"{1 / row.serial[0]:.2f}"))
        )
    return Table(columns, tuple(body))


def _steps_table(rows: Sequence[TimingRow]) -> Table:
    columns = ("Network", "Contender", "Step", "To reference", "To BP, chain", "To BP, plain")
    return Table(
        columns,
        tuple(
            (
                Cell(row.network),
                Cell(row.contender),
                _milliseconds(row.seconds),
                *(_times(row.over[base]) if base in row.over else NOTHING for base in (REFERENCE, CHAIN)),
                _times(row.over[PLAIN if PLAIN in row.over else BP]),
            )
            for row in rows
        ),
    )


def _memory_table(rows: Sequence[MemoryRow], axis: str) -> Table:
    names = list(dict.fromkeys(row.contender for row in rows))
    cells = {(row.value, row.contender): Cell(mebibytes(row.kept_bytes), f"{row.over_backprop:.2f} of BP") for row in rows}
    values = list(dict.fromkeys(row.value for row in rows))
    return Table((_AXES[axis], *names), tuple((Cell(str(value)), *(cells[value, name] for name in names)) for value in values))


def _milliseconds(spread: Spread) -> Cell:
    middle, low, high = (1e3 * value for value in spread)
    return Cell(f"{middle:.2f} ms", f"{low:.2f}–{high:.2f}")


def _percent(spread: Spread) -> Cell:
    middle, low, high = (100 * value for value in spread)
    return Cell(f"{middle:.1f}\u00a0%", f"{low:.1f}–{high:.1f}")


def _times(spread: Spread) -> Cell:
    middle, low, high = spread
    return Cell(f"{middle:.2f}", f"{low:.2f}–{high:.2f}")
