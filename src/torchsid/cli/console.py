"""What the command line shows: tables, notes and the progress of a training.

`choose` is the one place that decides between a terminal, plain lines and quiet.
"""

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.training.reporter import Silent

if TYPE_CHECKING:
    from rich.box import Box
    from rich.progress import Progress
    from rich.table import Table

MAX_STAGES_SHOWN = 11  # with the prior, all of a cascade of ten
MISSING = "–"


def choose(quiet: bool = False) -> "Console":
    """Return the console of this process: quiet on request, a live display on a terminal, else one line an epoch."""
    if quiet:
        return Console()
    return Terminal() if sys.stdout.isatty() else Plain()


class Console(Silent):
    """The quiet console, and what all have: warnings on stderr, tables and files on stdout. A `torchsid.training.Reporter`."""

    def warning(self, text: str) -> None:
        """Something the user should know."""
        print(f"torchsid: warning: {text}", file=sys.stderr)

    def note(self, text: str) -> None:
        """Something that passes by, such as the name of the training that begins."""

    def expect(self, epochs: int) -> None:
        """The next training has so many epochs."""

    def close(self) -> None:
        """Give the terminal back."""

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows of text under their columns, numbers right-aligned; a cell's further lines go into brackets."""
        from rich.console import Console as RichConsole

        cells = [[cell.replace("\n", " (", 1).replace("\n", ") (") + ")" * ("\n" in cell) for cell in row] for row in rows]
        page = RichConsole(file=io.StringIO(), width=10_000, color_system=None)
        with page.capture() as captured:
            page.print(_table(columns, cells, box=None, space=2))
        print("\n".join(line.rstrip() for line in captured.get().splitlines()), flush=True)

    def rows(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Print a table of rows that name their columns, and a blank line; nothing if there are none."""
        if rows:
            self.table(list(rows[0]), [[MISSING if value is None else str(value) for value in row.values()] for row in rows])
            print(flush=True)

    def file(self, what: str, path: Path) -> None:
        """Print where a file lies, as an address that terminals make clickable."""
        print(f"{what}: {path.resolve().as_uri()}", flush=True)


class Plain(Console):
    """One line at the start, one line an epoch: for files, pipes and continuous integration."""

    def started(self, manifest: Mapping[str, Any], locality_text: str) -> None:
        """Print the locality result."""
        self.note(locality_text)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Print the epoch's line."""
        self.note(epoch_line(record))

    def note(self, text: str) -> None:
        """Print one line, at once even into a pipe."""
        print(text, flush=True)


class Terminal(Plain):
    """A progress bar with the remaining time; what is printed meanwhile appears above it."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._epochs = 1

    def expect(self, epochs: int) -> None:
        """Let the bar and the remaining time cover so many epochs."""
        self._epochs = epochs

    def started(self, manifest: Mapping[str, Any], locality_text: str) -> None:
        """Print the locality result and open the progress bar."""
        super().started(manifest, locality_text)
        self._progress = _progress_bar()
        self._task = self._progress.add_task("", total=None, loss=float("nan"), speed=0.0)
        self._progress.start()

    def step(self, epoch: int, steps_done: int, steps_total: int, loss: float, samples_per_second: float) -> None:
        """Move the bar."""
        if self._progress is not None:
            done, total = (epoch - 1) * steps_total + steps_done, self._epochs * steps_total
            where = f"epoch {epoch}/{self._epochs}"
            self._progress.update(self._task, description=where, completed=done, total=total, loss=loss, speed=samples_per_second)

    def finished(self, run: Path, evaluation: Mapping[str, Any]) -> None:
        """Remove the bar."""
        self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print the same table with a rule, fitted to the terminal; what follows the first line of a cell is dimmed."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console as RichConsole

        RichConsole().print(_table(columns, rows, box=SIMPLE_HEAD, space=1))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, box: "Box | None", space: int) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box, padding=(0, space, 0, 0), show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        # A column is one of numbers where every cell starts like one, or stands for a missing one.
        numeric = all(not row[index] or row[index][0] in "0123456789+-−–…" for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        parts = [cell.partition("\n") for cell in row]
        table.add_row(*(Text.assemble(first, newline, (rest, "dim")) for first, newline, rest in parts))
    return table


def _progress_bar() -> "Progress":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  {task.fields[speed]:,.0f} samples/s  remaining"),
        TimeRemainingColumn(),
        transient=True,
    )


def epoch_line(record: Mapping[str, Any]) -> str:
    """Return an epoch's results in one line: losses, accuracy by stage in per cent, images a second, memory.

    What the record lacks is left out: no validation images, no measure of memory, every step skipped.
    """
    validation, accuracy = record["validation"], record["train_accuracy"]
    parts = {
        "loss {:.4f}": record["train_loss"],
        "validation loss {:.4f}": validation and validation["loss"],
        "accuracy by stage {} %": validation and by_stage(validation["accuracy"][1:]),  # without the prior's, which no stage made
        "training accuracy by stage {} %": None if validation or not accuracy else by_stage(accuracy),
        "{} steps skipped": record["skipped_steps"] or None,
        "{:,.0f} samples/s": record["samples_per_second"],
        "{:,.0f} MiB": record["memory_mib"],
    }
    return "  ".join([f"epoch {record['epoch']:>3}", *(text.format(value) for text, value in parts.items() if value is not None)])


def by_stage(fractions: Sequence[float]) -> str:
    """Return per-stage fractions in per cent.

    >>> by_stage([0.5, 0.75])
    '50.0 75.0'
    """
    return " ".join(abridged([f"{100 * fraction:.1f}" for fraction in fractions]))


def abridged(texts: Sequence[str]) -> list[str]:
    """Return one text a stage, or the ends alone of a deep cascade.

    >>> abridged(list("abcdefgh"))
    ['a', 'b', 'c', '…', 'g', 'h']
    """
    return list(texts) if len(texts) <= MAX_STAGES_SHOWN else [*texts[:3], "…", *texts[-2:]]


def stage_name(stage: int) -> str:
    """Return the name of the belief after a stage; before the first one there is the prior."""
    return f"stage {stage}" if stage else "prior"
