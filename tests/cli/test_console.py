import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from torchsid.cli import console

RECORD = {
    "event": "epoch",
    "epoch": 3,
    "step": 30,
    "train_loss": 0.51234,
    "train_accuracy": [0.8, 0.9],
    "validation": {"loss": 0.4321, "accuracy": [0.1, 0.85, 0.95], "kl": [2.3, 0.5, 0.3]},
    "images_per_second": 1234.5,
    "memory_mib": 321.0,
    "skipped_steps": 0,
}
LOCALITY = "locality: no loss reaches another stage (3 stages checked)"


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> FakeTerminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    return FakeTerminal()


def report_all(screen: console.Console) -> None:
    screen.started({}, LOCALITY)
    screen.step(3, 15, 30, 0.6, 1000.0)
    screen.epoch(RECORD)
    screen.finished(Path("run"), {})


def test_pipes_get_plain_lines_and_quiet_wins(terminal: FakeTerminal) -> None:
    with redirect_stdout(terminal):
        assert type(console.choose()) is console.Terminal
        assert type(console.choose(quiet=True)) is console.Console
    with redirect_stdout(io.StringIO()):
        assert type(console.choose()) is console.Plain


def test_plain_prints_the_locality_once_and_one_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    report_all(console.Plain())
    assert capsys.readouterr().out.splitlines() == [
        LOCALITY,
        "epoch   3  loss 0.5123  validation loss 0.4321  accuracy by stage 85.0 95.0 %  1,234 images/s  321 MiB",
    ]


def test_an_epoch_without_validation_shows_the_training_accuracy() -> None:
    record: dict[str, Any] = {**RECORD, "validation": None, "memory_mib": None}
    assert console.epoch_line(record) == "epoch   3  loss 0.5123  training accuracy by stage 80.0 90.0 %  1,234 images/s"


def test_an_epoch_of_skipped_steps_says_so() -> None:
    record: dict[str, Any] = {**RECORD, "train_loss": None, "train_accuracy": None, "images_per_second": None}
    assert console.epoch_line({**record, "validation": None, "skipped_steps": 7}) == "epoch   3  7 steps skipped  321 MiB"


def test_quiet_prints_warnings_on_stderr_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    screen = console.Console()
    report_all(screen)
    screen.note("the second run begins")
    screen.warning("odd")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "torchsid: warning: odd\n")


def test_terminal_shows_progress_and_gives_the_cursor_back(terminal: FakeTerminal) -> None:
    with redirect_stdout(terminal):
        screen = console.Terminal()
        screen.expect(epochs=5)
        screen.started({}, LOCALITY)
        screen.step(3, 15, 30, 0.6, 1000.0)
        screen.epoch(RECORD)
        screen.warning("[odd]")
        screen.finished(Path("run"), {})
        screen.close()
    shown = terminal.getvalue()
    for part in ("epoch 3/5", "75/150", "loss 0.6000", "1,000 images/s", "85.0 95.0 %", "warning: [odd]"):
        assert part in shown
    assert shown.count(LOCALITY) == 1
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") > 0  # the cursor was hidden and is shown again


def test_the_same_table_plain_and_fitted_to_the_terminal(terminal: FakeTerminal, capsys: pytest.CaptureFixture[str]) -> None:
    columns, rows = ["method", "accuracy", "remark"], [["SID [x]", "98.1 %\n97–99", "none"], ["BP", "–", "3 runs"]]
    console.Plain().table(columns, rows)
    assert capsys.readouterr().out.splitlines() == [
        "method         accuracy  remark",
        "SID [x]  98.1 % (97–99)  none",
        "BP                    –  3 runs",
    ]
    with redirect_stdout(terminal):
        console.Terminal().table(columns, rows)
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()]
    assert lines == [
        "method   accuracy  remark",
        "─" * 25,
        "SID [x]    98.1 %  none",
        "            97–99",
        "BP              –  3 runs",
    ]


def test_a_file_is_shown_as_an_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console.Plain().file("report", tmp_path / "a b.html")
    assert capsys.readouterr().out == f"report: file://{tmp_path}/a%20b.html\n"
