"""Experiments so small that they take a moment, and rows made by hand, for what needs no measurement."""

from pathlib import Path

from torchsid.study.experiments.costs.memory import WINDOW
from torchsid.study.experiments.costs.parts import EXTRACTOR, PHASE_1, PHASE_2, UPDATE, bound
from torchsid.study.experiments.costs.plan import Memory, Shared, SharedMemory, Staged, StagedMemory, Timing
from torchsid.study.experiments.costs.result import MemoryRow, Result, Spread, TimingRow
from torchsid.study.experiments.costs.shared import CHAIN, PLAIN, REFERENCE, STREAMING, TWO_PHASE
from torchsid.study.experiments.costs.staged import BP, CHECKPOINTED, SID

TIMING = Timing(
    kind="timing",
    name="timing",
    question="Where?",
    rounds=2,
    shared=[Shared(extractor="mlp", depths=[2], hidden=8, batch_size=8, image_size=4)],
    staged=[Staged(model="mlp", blocks=4, width=32, stages=[2], batch_size=8, image_size=4)],
)
MEMORY = Memory(
    kind="memory",
    name="memory",
    question="What?",
    shared=[SharedMemory(extractor="mlp", depths=[2, 4, 8], hidden=8, widths=[8, 16], depth=4, batch_size=8, image_size=4)],
    staged=[StagedMemory(model="mlp", blocks=4, width=32, stages=[2, 4], windows=[1, 2, 4], batch_size=8, image_size=4)],
)
ORIGIN = {"versions": {"torch": "2"}, "hardware": {"cpu": "a processor", "cores": 2, "threads": 1}, "git": None}


def near(value: float) -> Spread:
    """A median with quartiles 1 % away."""
    return value, 0.99 * value, 1.01 * value


def timing_rows(network: str, stages: int, serial: float, sid_over: float) -> list[TimingRow]:
    """The rows of a shared cascade: this share runs one after another, SID takes this many times as long as any other."""

    def row(contender: str, seconds: float, *, apart: bool = False) -> TimingRow:
        workers = sorted({2, stages})
        return TimingRow(
            network=f"{network}, L = {stages}",
            kind="shared",
            model=network,
            stages=stages,
            batch_size=8,
            contender=contender,
            rounds=2,
            seconds=near(seconds),
            over={base: near(seconds) for base in (REFERENCE, CHAIN, PLAIN)},
            parts={EXTRACTOR: near(serial / 2), PHASE_1: near(serial / 2), PHASE_2: near(1 - serial), UPDATE: near(0.0)}
            if apart
            else {},
            serial=near(serial) if apart else None,
            bounds={n: near(bound(serial, n)) for n in workers} if apart else None,
        )

    others = [row(name, 1.0) for name in (REFERENCE, CHAIN, PLAIN)]
    return [row(TWO_PHASE, 2 * sid_over, apart=True), row(STREAMING, sid_over), *others]


def memory_rows(network: str, axis: str, lines: dict[str, dict[int, int]]) -> list[MemoryRow]:
    """Rows along an axis, with these kept bytes by contender and value."""
    kind = "shared" if axis in ("depth", "width") else "staged"
    return [
        MemoryRow(
            network=network,
            kind=kind,
            axis=axis,
            value=value,
            batch_size=8,
            contender=name,
            kept_bytes=kept,
            over_backprop=kept / lines[CHAIN if kind == "shared" else BP][value],
        )
        for name, line in lines.items()
        for value, kept in line.items()
    ]


def depth_rows(streaming: dict[int, int]) -> list[MemoryRow]:
    """Rows along the depth 2, 8 with these kept bytes of streaming."""
    lines = {STREAMING: streaming, REFERENCE: {2: 2 << 20, 8: 8 << 20}, CHAIN: {2: 2 << 20, 8: 8 << 20}}
    return memory_rows("net", "depth", lines)


def staged_rows(sid: dict[int, int], axis: str) -> list[MemoryRow]:
    """Rows of a network for which backpropagation keeps 100 bytes and checkpointing 50."""
    name = WINDOW if axis == "window" else SID
    return memory_rows("cut", axis, {name: sid, BP: dict.fromkeys(sid, 100), CHECKPOINTED: dict.fromkeys(sid, 50)})


def timing_result() -> Result:
    """A result of `timing` made by hand."""
    rows = timing_rows("net", 4, 0.5, 0.8)
    return Result(experiment=TIMING, timing=tuple(rows), provenance=ORIGIN, finished="2026-01-01T00:00:00+00:00")


def memory_result(*dropped: str) -> Result:
    """A result of `memory` made by hand."""
    rows = (*depth_rows({2: 1 << 20, 8: 1 << 20}), *staged_rows({1: 40, 4: 120}, "window"))
    return Result(experiment=MEMORY, memory=rows, dropped=dropped, provenance=ORIGIN, finished="2026-01-01T00:00:00+00:00")


def lines_of(path: Path) -> list[str]:
    """The lines of a text file."""
    return path.read_text("utf-8").splitlines()
