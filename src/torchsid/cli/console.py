"""What the command line shows and writes: tables, notes, files, and the progress of a training."""

import argparse
import io
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torchsid.cli.streams import emit
from torchsid.errors import printable
from torchsid.show.tables import Table
from torchsid.study.files import write_file
from torchsid.study.files import write_json as write_value
from torchsid.training.reporter import Reporter

if TYPE_CHECKING:
    from rich.progress import Progress

    from torchsid.show.svg import Drawing

T = TypeVar("T")

MAX_STAGES_SHOWN = 11  # with the prior, all of a cascade of ten
MISSING = "–"


class Console(Reporter):
    """Prints warnings on stderr, all else on stdout.

    On a terminal tables are fitted to it, and a training has a progress bar; elsewhere a row, and an epoch, is a line. Notes and
    progress are left out where it is `quiet`.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet, self._terminal = quiet, sys.stdout.isatty() and not quiet
        self._progress: Progress | None = None
        self._epochs = 1

    def warning(self, text: str) -> None:
        """Something the user should know."""
        emit(f"torchsid: warning: {text}", error=True)

    def note(self, text: str) -> None:
        """Something that passes by, such as the name of the training that begins; at once even into a pipe."""
        if not self._quiet:
            emit(text)

    def file(self, what: str, path: Path) -> None:
        """Print where a file lies, as an address that terminals make clickable."""
        emit(f"{what}: {path.resolve().as_uri()}")

    def rows(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Print a table of rows that name their columns, and a blank line; nothing if there are none."""
        if rows:
            self.table(list(rows[0]), [[MISSING if value is None else str(value) for value in row.values()] for row in rows])
            emit()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows of text under their columns, numbers right-aligned.

        A cell's second line is dimmed on a terminal, and else goes into brackets.
        """
        from rich.box import SIMPLE_HEAD
        from rich.console import Console as Page
        from rich.table import Table as RichTable
        from rich.text import Text

        box, space, below = (SIMPLE_HEAD, 1, "\n{}") if self._terminal else (None, 2, " ({})")
        table = RichTable(box=box, padding=(0, space, 0, 0), show_edge=False, pad_edge=False)
        for index, column in enumerate(columns):
            # A column is one of numbers where every cell starts like one, or stands for a missing one.
            numeric = all(not row[index] or row[index][0] in "0123456789+-−–…" for row in rows)
            table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            cells = (tuple(map(printable, cell.partition("\n"))) for cell in row)
            table.add_row(*(Text.assemble(first, (below.format(second), "dim") if second else "") for first, _, second in cells))
        if self._terminal:
            Page().print(table)
        else:
            page = io.StringIO()
            Page(file=page, width=10_000, color_system=None).print(table)
            emit("\n".join(line.rstrip() for line in page.getvalue().split("\n")).rstrip("\n"))

    def show(self, *tables: Table, by_stage: bool = False) -> None:
        """Print tables, each with its caption and a blank line; if their rows are stages, of many the ends alone."""
        for table in tables:
            lines = table.lines()
            if table.caption:
                emit(table.caption)
            self.table(table.columns, abridged(lines, ["…"] * len(table.columns)) if by_stage else lines)
            emit()

    def expect(self, epochs: int) -> None:
        """Let the bar and the remaining time of the next training cover so many epochs."""
        self._epochs = epochs

    def started(self, manifest: Mapping[str, Any], locality_text: str) -> None:
        """Print the locality result, and open the progress bar; what is printed meanwhile appears above it."""
        self.note(locality_text)
        if self._terminal:
            from rich.progress import Progress

            self._progress = Progress(transient=True)
            self._task = self._progress.add_task("", total=None)
            self._progress.start()

    def step(self, epoch: int, steps_done: int, steps_total: int, loss: float, samples_per_second: float) -> None:
        """Move the bar."""
        if self._progress is not None:
            done, total = (epoch - 1) * steps_total + steps_done, self._epochs * steps_total
            where = f"epoch {epoch}/{self._epochs}  loss {loss:.4f}  {samples_per_second:,.0f} samples/s"
            self._progress.update(self._task, description=where, completed=done, total=total)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Print the epoch's line."""
        self.note(epoch_line(record))

    def close(self) -> None:
        """Remove the bar, and give the terminal back."""
        if self._progress is not None:
            self._progress.stop()


def command_of(args: argparse.Namespace) -> str:
    """Return the command as it was typed."""
    return printable(shlex.join(["torchsid", *args.command]))


def write_json(
    screen: Console, args: argparse.Namespace, what: str, found: Mapping[str, Any], *, measured_on: str | None = None
) -> None:
    """Write what was found to the file of `--json`, if one is asked for.

    What was measured on a device, such as `"cpu"`, is written with the command and with where the numbers come from.
    """
    if not args.json:
        return
    if measured_on is not None:
        import torch

        from torchsid.training.provenance import provenance

        found = {"command": command_of(args), "provenance": provenance(torch.device(measured_on)), **found}
    write_value(args.json, found)
    screen.file(what, args.json)


def draw(screen: Console, path: Path, *drawings: "Drawing") -> None:
    """Write figures into one SVG file."""
    from torchsid.show.svg import standalone

    write_file(path, standalone(*drawings))
    screen.file("figure", path)


def epoch_line(record: Mapping[str, Any]) -> str:
    """Return an epoch's results in one line: losses, accuracy by stage in per cent, images a second, memory.

    What the record lacks is left out: no validation images, no measure of memory, every step skipped.
    """
    validation, accuracy = record["validation"], record["train_accuracy"]
    scores = (validation or {}).get("scores", {})
    judged = validation["accuracy"] if validation and "mae" not in scores else None

    def by_stage(fractions: Sequence[float]) -> str:
        return " ".join(abridged([f"{100 * fraction:.1f}" for fraction in fractions], "…"))

    parts = {
        "loss {:.4f}": record["train_loss"],
        "validation loss {:.4f}": validation and validation["loss"],
        "accuracy by stage {} %": judged and by_stage(judged[1:]),  # without the prior's, which no stage made
        **{f"{name} by stage {{}}": " ".join(abridged([f"{each:.4g}" for each in own[1:]], "…")) for name, own in scores.items()},
        "training accuracy by stage {} %": None if validation or not accuracy else by_stage(accuracy),
        "{} steps skipped": record["skipped_steps"] or None,
        "{:,.0f} samples/s": record["samples_per_second"],
        "{:,.0f} MiB": record["memory_mib"],
    }
    return "  ".join([f"epoch {record['epoch']:>3}", *(text.format(value) for text, value in parts.items() if value is not None)])


def abridged(stages: Sequence[T], between: T) -> list[T]:
    """Return what there is for every stage, or of a deep cascade for the ends alone.

    >>> abridged("abcdefghijkl", "…")
    ['a', 'b', 'c', '…', 'k', 'l']
    """
    return list(stages) if len(stages) <= MAX_STAGES_SHOWN else [*stages[:3], between, *stages[-2:]]


def stage_name(stage: int) -> str:
    """Return the name of the belief after a stage; before the first one there is the prior."""
    return f"stage {stage}" if stage else "prior"


def percent(share: float | None, digits: int = 2) -> str:
    """Return a share in per cent."""
    return MISSING if share is None else f"{100 * share:.{digits}f} %"
