import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from torchsid.cli.console import Console, epoch_line

Output = pytest.CaptureFixture[str]
RECORD = {
    "event": "epoch",
    "epoch": 3,
    "step": 30,
    "train_loss": 0.51234,
    "train_accuracy": [0.8, 0.9],
    "validation": {"loss": 0.4321, "accuracy": [0.1, 0.85, 0.95], "kl": [2.3, 0.5, 0.3]},
    "samples_per_second": 1234.5,
    "memory_mib": 321.0,
    "skipped_steps": 0,
}
LOCALITY = "locality: no loss reaches another stage (3 stages checked)"
COLUMNS, ROWS = ["method", "accuracy", "remark"], [["SID [x]", "98.1 %\n97–99", "none"], ["BP", "–", "3 runs"]]


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> FakeTerminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    return FakeTerminal()


def report_all(screen: Console) -> None:
    screen.expect(epochs=5)
    screen.started({}, LOCALITY)
    screen.step(3, 15, 30, 0.6, 1000.0)
    screen.epoch(RECORD)
    screen.warning("[odd]")
    screen.finished(Path("run"), {})
    screen.close()


def test_a_pipe_gets_the_locality_once_and_one_line_an_epoch(capsys: Output) -> None:
    report_all(Console())
    locality, epoch = capsys.readouterr().out.splitlines()
    assert locality == LOCALITY
    assert re.findall(r"[\d.,]+", epoch) == ["3", "0.5123", "0.4321", "85.0", "95.0", "1,234", "321"]  # no prior: no stage made it


def test_what_a_record_lacks_is_left_out() -> None:
    record = {**RECORD, "validation": None, "memory_mib": None}
    assert re.findall(r"[\d.,]+", epoch_line(record)) == ["3", "0.5123", "80.0", "90.0", "1,234"]
    record |= {"train_loss": None, "train_accuracy": None, "samples_per_second": None, "skipped_steps": 7}
    assert re.findall(r"[\d.,]+", epoch_line(record)) == ["3", "7"]


def test_quiet_prints_warnings_on_stderr_and_nothing_else(terminal: FakeTerminal, capsys: Output) -> None:
    with redirect_stdout(terminal):
        report_all(Console(quiet=True))
    assert terminal.getvalue() == ""
    assert "[odd]" in capsys.readouterr().err


def test_a_terminal_shows_progress_and_gets_its_cursor_back(terminal: FakeTerminal) -> None:
    with redirect_stdout(terminal):
        report_all(Console())
    shown = terminal.getvalue()
    assert all(part in shown for part in ("epoch 3/5", "50%", "0.6000", "1,000", "85.0 95.0", "[odd]"))
    assert shown.count(LOCALITY) == 1
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") > 0  # the cursor was hidden and is shown again


def test_a_plain_table_has_a_line_a_row_and_is_as_wide_as_it_needs(capsys: Output) -> None:
    Console().table([*COLUMNS, "long"], [[*row, "x" * 300] for row in ROWS])
    head, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["SID", "[x]", "98.1", "%", "(97–99)", "none", "x" * 300]
    assert second.index("–") == head.index("accuracy") + len("accuracy") - 1  # numbers are right-aligned
    assert head == head.rstrip()


@pytest.mark.parametrize("colour", [True, False])
def test_a_table_on_a_terminal_is_fitted_to_it(terminal: FakeTerminal, colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stdout(terminal):
        Console().table(COLUMNS, ROWS)
    lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
    assert max(map(len, lines)) <= 24
    assert any(line.strip() == "97–99" for line in lines)  # a cell's second line


def test_rows_name_their_columns_and_none_is_a_dash(capsys: Output) -> None:
    Console().rows([{"stage": 1, "loss": None}])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["stage", "loss"], ["1", "–"], []]
    Console().rows([])
    assert capsys.readouterr().out == ""
