"""Measure what is missing of an experiment on costs, and return all of it."""

from collections.abc import Callable
from pathlib import Path

from torchsid.core.threads import threads
from torchsid.study.experiments.costs import memory, staged, timing
from torchsid.study.experiments.costs.measured import Measured
from torchsid.study.experiments.costs.plan import Memory, Timing
from torchsid.study.experiments.costs.result import MemoryRow, Result, TimingRow
from torchsid.training.provenance import provenance


def run(
    experiment: Timing | Memory,
    out: Path,
    *,
    minutes: float | None = None,
    command: str = "",
    say: Callable[[str], None] = print,
) -> Result:
    """Measure what is missing, in this process, and return all of it.

    Args:
        experiment: from `load`.
        out: its folder, which keeps what was measured; a change of settings, versions or machine measures anew.
        minutes: the budget: fewer rounds, or without the largest points. None measures everything.
        command: what was typed.
        say: called with one line a network or point.

    Raises:
        ConfigError: a network cannot be built or cut as asked; names all problems, before anything is measured.
        RunError: `out` cannot be written.
    """
    staged.check(experiment.staged)
    seconds = None if minutes is None else 60 * minutes
    with threads(experiment.threads):
        origin = provenance()
        measured = Measured(out, {"versions": origin["versions"], "hardware": origin["hardware"]})
        rows: tuple[TimingRow, ...] = ()
        kept: tuple[MemoryRow, ...] = ()
        if isinstance(experiment, Timing):
            rows = tuple(timing.measure(experiment, measured, seconds, say))
            dropped = list(dict.fromkeys(_fewer(row, experiment.rounds) for row in rows if row.rounds < experiment.rounds))
        else:
            found, dropped = memory.measure(experiment, measured, seconds, say)
            kept = tuple(found)
    return Result(
        experiment=experiment,
        timing=rows,
        memory=kept,
        dropped=tuple(dropped),
        command=command,
        provenance=origin,
        finished=measured.finished,
    )


def _fewer(row: TimingRow, rounds: int) -> str:
    return f"{rounds - row.rounds} of {rounds} rounds of {row.network}"
