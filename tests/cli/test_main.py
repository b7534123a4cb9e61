import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torchsid import __version__
from torchsid.cli import list as list_
from torchsid.cli.main import VERBS, build_parser, main

TRUNK = ("--stages", "--blocks", "--width", "--image-size", "--classes", "--head", "--variant", "--device")

# The command line is frozen: new knobs go into the configuration, and whoever changes this table means to.
SURFACE = {
    "train": {"RECIPE", "--out", "--data", "--set", "--seeds", "--resume", "--quiet", "--on-bad-sample"},
    "evaluate": {"RUN", "--weights", "--data", "--split", "--exit-when", "--exit-curve", "--json"},
    "certify": {"RUN", "--weights", "--data", "--split", "--classes", "--page", "--figures", "--json"},
    "predict": {"RUN", "IMAGE", "--top", "--exit-when", "--weights"},
    "audit": {"RUN", "--weights", "--data", "--top", "--json", "--page"},
    "compare": {"RUN", "--json"},
    "report": {"RUN", "--out"},
    "experiment": {"NAME", "--list", "--data", "--budget", "--out", "--workers"},
    "bench memory": {"--model", *TRUNK, "--batch-size", "--threads", "--json"},
    "bench step": {"--model", *TRUNK, "--batch-size", "--threads", "--json", "--depths", "--rounds", "--trace", "--figure"},
    "bench pipeline": {
        *("--model", "--workers", "--stages", "--micro-batches", "--blocks", "--width", "--image-size", "--classes", "--head"),
        *("--batch-size", "--rounds", "--threads", "--wire", "--queue", "--memory", "--no-memory", "--json", "--figure"),
    },
    "plan": {
        *("--model", "--width", "--depth", "--image-size", "--classes", "--devices", "--stages", "--data", "--link", "--latency"),
        *("--batch-size", "--micro-batches", "--optimizer", "--precision", "--queue", "--utilisation", "--measure", "--sweep"),
        *("--json", "--figure"),
    },
    "list": {"kind"},
}


def surface(parser: argparse.ArgumentParser, verb: str = "") -> dict[str, set[str]]:
    options: set[str] = set()
    below: dict[str, set[str]] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                below |= surface(child, f"{verb} {name}".strip())
        elif not isinstance(action, argparse._HelpAction):
            options |= set(action.option_strings) or {str(action.metavar or action.dest)}
    return below or {verb: options}


def test_the_command_line_is_frozen() -> None:
    assert surface(build_parser()) == SURFACE
    assert {action.dest for action in build_parser()._actions} == {"help", "version", "debug", "==SUPPRESS=="}


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert len(VERBS) == len({verb.split()[0] for verb in SURFACE})
    assert all(f"\n    {verb.split()[0]}" in shown for verb in SURFACE)


@pytest.mark.parametrize("verb", SURFACE)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*verb.split(), "--help"])
    assert stop.value.code == 0
    assert f"usage: torchsid {verb}" in capsys.readouterr().out


def test_module_and_version() -> None:
    result = subprocess.run([sys.executable, "-m", "torchsid", "--version"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, f"torchsid {__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["trian", "digits"], ["train"], ["train", "digits", "--seeds", "0"], ["bench"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_options_are_not_abbreviated() -> None:
    with pytest.raises(SystemExit):
        main(["train", "digits", "--res"])


def test_an_error_is_one_message_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "nowhere"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("torchsid: error: nowhere is no directory")
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("by_option", [True, False])
def test_debugging_shows_the_traceback(
    by_option: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHSID_DEBUG", "0" if by_option else "1")
    assert main([*(["--debug"] if by_option else []), "compare", "nowhere"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(kind: str) -> dict[str, str]:
        raise ValueError("not the user's")

    monkeypatch.setattr(list_, "descriptions", broken)
    with pytest.raises(ValueError, match="not the user's"):
        main(["list", "models"])


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "torchsid", "list"]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (result.returncode, result.stderr) == (0, "")


def test_ctrl_c_outside_training(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(kind: str) -> dict[str, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(list_, "descriptions", interrupted)
    assert main(["list", "models"]) == 130
    assert capsys.readouterr().err == "torchsid: interrupted\n"


def test_an_unwritable_file_is_an_error(runs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(["compare", str(runs), "--json", str(tmp_path / "file" / "result.json")]) == 2
    assert "result.json" in capsys.readouterr().err
