import os
import subprocess
import sys
from pathlib import Path

import pytest

from torchsid import __version__
from torchsid.cli import list as list_
from torchsid.cli.main import VERBS, main

Output = pytest.CaptureFixture[str]
NAMES = [module.__name__.rpartition(".")[-1] for module in VERBS]


def stopped(arguments: list[str]) -> object:
    """The exit code of what argparse ends by itself."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code


def test_help_names_every_verb(capsys: Output) -> None:
    assert stopped(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n    {verb}" in shown for verb in NAMES)


@pytest.mark.parametrize("verb", [*([name] for name in NAMES), ["bench", "step"], ["bench", "memory"], ["bench", "pipeline"]])
def test_every_verb_explains_itself(verb: list[str], capsys: Output) -> None:
    assert stopped([*verb, "--help"]) == 0
    assert " ".join(verb) in capsys.readouterr().out


def test_module_and_version() -> None:
    result = subprocess.run([sys.executable, "-m", "torchsid", "--version"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, f"torchsid {__version__}\n")


@pytest.mark.parametrize(
    "arguments", [[], ["trian", "digits"], ["train"], ["train", "digits", "--seeds", "0"], ["bench"], ["train", "digits", "--res"]]
)
def test_wrong_usage_exits_with_2_and_options_are_not_abbreviated(arguments: list[str]) -> None:
    assert stopped(arguments) == 2


@pytest.mark.parametrize("by_option", [True, False])
def test_debugging_shows_the_traceback(by_option: bool, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHSID_DEBUG", "0" if by_option else "1")
    assert main([*(["--debug"] if by_option else []), "compare", "nowhere"]) == 2
    assert "Traceback" in capsys.readouterr().err


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[str]:
    """The arguments of a command that raises the error."""

    def fail(kind: str) -> dict[str, str]:
        raise error

    monkeypatch.setattr(list_, "descriptions", fail)
    return ["list", "models"]


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError("disk full"), 2)])
def test_what_ends_a_command_sets_its_exit_code(
    error: BaseException, code: int, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(failing(monkeypatch, error)) == code
    assert capsys.readouterr().err.startswith("torchsid: ")


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="not the user's"):
        main(failing(monkeypatch, ValueError("not the user's")))


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "torchsid", "list"]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_unwritable_file_is_an_error(runs: Path, capsys: Output, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(["compare", str(runs), "--json", str(tmp_path / "file" / "result.json")]) == 2
    assert "result.json" in capsys.readouterr().err


@pytest.mark.parametrize("kind", list_.KINDS)
def test_every_name_has_one_line_with_a_description(kind: str, capsys: Output) -> None:
    assert main(["list", kind]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.split()[:: len(first.split()) - 1] == [kind, "description"]
    assert {line.split()[0] for line in lines} == set(list_.descriptions(kind))
    assert all(len(line.split()) > 2 for line in lines)


def test_without_a_kind_everything_is_listed_and_an_unknown_one_is_refused(capsys: Output) -> None:
    assert main(["list"]) == 0
    words = capsys.readouterr().out.split()
    for name in ("digits-noise-gce", "images", "fashion-mnist", "simple-cnn", "vit-tiny", "staged", "pyramid", "elr", "two_phase"):
        assert name in words
    assert stopped(["list", "modles"]) == 2
    assert "models" in capsys.readouterr().err


def said(arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What a shell hears of the command, which it is given as `$T`."""
    settings = {**os.environ, "T": f"{sys.executable} -m torchsid", "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(["bash", "-c", arguments], capture_output=True, env=settings)


LABEL = "label=caf\u00e9 \u2013 \u4e2d \x1b[31m"


@pytest.mark.slow
def test_a_training_is_finished_and_reported_though_nobody_listens(tmp_path: Path) -> None:
    settings = "--set model.depth=2 --set data.limit=200 --set training.epochs=1 --set watch.conflict=false"
    heard = said(f'$T train digits {settings} --set "$LABEL" --out run 2>&- | head -n 1', LABEL=LABEL, PYTHONIOENCODING="cp437")
    assert heard.stdout.startswith(b"local: ")
    report = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "caf\u00e9 \u2013 \u4e2d" in report
    assert "\x1b" not in report


def test_a_terminal_without_room_or_encoding_gets_a_table() -> None:
    for columns in ("0", "1"):
        assert said("$T list learners >/dev/full && $T list heads", COLUMNS=columns, PYTHONIOENCODING="ascii").returncode == 0
