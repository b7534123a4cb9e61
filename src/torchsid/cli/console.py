"""What the command line shows: tables, notes and the progress of a training.

`choose` is the one place that decides between a terminal, plain lines and quiet.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

MAX_STAGES_SHOWN = 11  # with the prior, all of a cascade of ten


def choose(quiet: bool = False) -> "Console":
    """Return the console of this process: quiet on request, a live display on a terminal, else one line an epoch."""
    if quiet:
        return Console()
    return Terminal() if sys.stdout.isatty() else Plain()


class Console:
    """The quiet console: warnings on stderr, tables and results on stdout. Also a `torchsid.training.Reporter`."""

    def started(self, manifest: Mapping[str, Any], locality_text: str) -> None:
        """A training begins; `locality_text` says which gradients were checked, and how."""

    def step(self, epoch: int, steps_done: int, steps_total: int, loss: float, samples_per_second: float) -> None:
        """One optimiser step is done."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """One epoch is done; `record` is its line of metrics.jsonl."""

    def finished(self, run: Path, evaluation: Mapping[str, Any]) -> None:
        """The training is done and evaluated."""

    def warning(self, text: str) -> None:
        """Something the user should know."""
        print(f"torchsid: warning: {text}", file=sys.stderr)

    def interrupted(self, run: Path) -> None:
        """A signal stopped the training after its checkpoint was written."""

    def note(self, text: str) -> None:
        """Something that passes by, such as the name of the training that begins."""

    def expect(self, epochs: int) -> None:
        """The next training has so many epochs."""

    def close(self) -> None:
        """Give the terminal back."""

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows of text under their columns, numbers right-aligned; a cell's further lines go into brackets."""
        cells = [[column, *(_in_one_line(row[index]) for row in rows)] for index, column in enumerate(columns)]
        aligned = [_aligned(column, right=_numeric(column[1:])) for column in cells]
        for line in zip(*aligned, strict=True):
            print("  ".join(line).rstrip())
        sys.stdout.flush()

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
    """A progress bar with the remaining time below the lines of the finished epochs."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
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
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task,
                description=f"epoch {epoch}/{self._epochs}",
                completed=(epoch - 1) * steps_total + steps_done,
                total=self._epochs * steps_total,
                loss=loss,
                speed=samples_per_second,
            )

    def finished(self, run: Path, evaluation: Mapping[str, Any]) -> None:
        """Remove the bar."""
        self.close()

    def interrupted(self, run: Path) -> None:
        """Remove the bar."""
        self.close()

    def warning(self, text: str) -> None:
        """Print the warning above the bar."""
        if self._progress is None:
            super().warning(text)
        else:
            self._progress.console.print(f"torchsid: warning: {text}", style="yellow", markup=False, highlight=False)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        if self._progress is None:
            super().note(text)
        else:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print the same table with a rule, fitted to the terminal; what follows the first line of a cell is dimmed."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console as RichConsole
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for index, column in enumerate(columns):
            right = _numeric([row[index] for row in rows])
            table.add_column(column, justify="right" if right else "left", overflow="fold")
        for row in rows:
            parts = [cell.partition("\n") for cell in row]
            table.add_row(*(Text.assemble(first, newline, (rest, "dim")) for first, newline, rest in parts))
        RichConsole().print(table)


def _progress_bar() -> "Progress":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  {task.fields[speed]:,.0f} images/s  remaining"),
        TimeRemainingColumn(),
        transient=True,
    )


def epoch_line(record: Mapping[str, Any]) -> str:
    """Return an epoch's results in one line: losses, accuracy by stage in per cent, images a second, memory.

    What the record lacks is left out: no validation images, no measure of memory, every step skipped.
    """
    parts = [f"epoch {record['epoch']:>3}"]
    if record["train_loss"] is not None:
        parts.append(f"loss {record['train_loss']:.4f}")
    if validation := record["validation"]:
        # The first entry is the prior's, which no stage made.
        accuracy = by_stage(validation["accuracy"][1:])
        parts.append(f"validation loss {validation['loss']:.4f}  accuracy by stage {accuracy} %")
    elif record["train_accuracy"]:
        parts.append(f"training accuracy by stage {by_stage(record['train_accuracy'])} %")
    if record["skipped_steps"]:
        parts.append(f"{record['skipped_steps']} steps skipped")
    if record["samples_per_second"]:
        parts.append(f"{record['samples_per_second']:,.0f} images/s")
    if record["memory_mib"]:
        parts.append(f"{record['memory_mib']:,.0f} MiB")
    return "  ".join(parts)


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


def _numeric(cells: Sequence[str]) -> bool:
    """Return whether every cell starts like a number, or stands for a missing one."""
    return all(not cell or cell[0] in "0123456789+-−–…" for cell in cells)


def _in_one_line(cell: str) -> str:
    first, *further = cell.split("\n")
    return " ".join([first, *(f"({line})" for line in further)])


def _aligned(cells: Sequence[str], *, right: bool) -> list[str]:
    width = max(map(len, cells))
    return [cell.rjust(width) if right else cell.ljust(width) for cell in cells]
