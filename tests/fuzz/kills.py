"""Runs that are killed or interrupted at random moments and go on leave in the end what an undisturbed run leaves, to the bit."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from tests.fuzz import settings
from tests.fuzz.case import NAMED, BrokenPromiseError
from tests.training.conftest import assert_same_result
from torchsid.errors import ConfigError
from torchsid.training import Interrupted, resolve, train
from torchsid.training.config import to_toml

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FILES = ("posix", "io", "_io")
"""The modules whose functions change files: half of the moments lie between two of their calls."""
DONE = {0, 128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGALRM, -signal.SIGINT}
TRIES = 5
"""Configurations that are drawn until one of them trains."""


def case(random: Random, folder: Path) -> str:
    """Train undisturbed, then with up to three accidents and a resume after each, and compare all that is left."""
    recipe = _undisturbed(random, folder)
    if recipe is None:
        return "nothing that trains was drawn"
    calls = int((folder / "calls").read_text())
    files = int((folder / "files").read_text())
    run, told = folder / "run", []
    for _ in range(random.choice([1, 1, 2, 3])):
        which, count = random.choice([("calls", calls), ("files", files)])
        number = random.choice(SIGNALS)
        moments = sorted(random.randint(1, count) for _ in range(random.choice([1, 1, 1, 2])))
        code = _in_child(lambda which=which, moments=moments, number=number: _die_at(which, moments, number), recipe, run, folder)
        told.append(f"{number.name} at {which} {moments}: {code}")
        if code not in DONE:
            raise BrokenPromiseError(f"{told} of\n{recipe.read_text()}\n{_said(folder)}")
    code = _in_child(lambda: None, recipe, run, folder)
    if code != 0:
        raise BrokenPromiseError(f"{told}, then resumed: {code} of\n{recipe.read_text()}\n{_said(folder)}")
    try:
        assert_same_result(run, folder / "undisturbed")
    except AssertionError as error:
        raise BrokenPromiseError(f"{told}: another result of\n{recipe.read_text()}") from error
    return f"the same after {len(told)} accidents"


def _undisturbed(random: Random, folder: Path) -> Path | None:
    """Write a configuration that trains, and train it; the numbers of calls that it takes go to files."""
    for attempt in range(TRIES):
        try:
            config = settings.drawn(random, random.randint(0, 5))
        except ConfigError:
            continue
        recipe, out = folder / f"drawn{attempt}.toml", folder / "undisturbed"
        recipe.write_text(to_toml(config))
        code = _in_child(lambda: _count(folder), recipe, out, folder)
        if code == 0:
            return recipe
        if code != 2:
            raise BrokenPromiseError(f"undisturbed: {code} of\n{recipe.read_text()}\n{_said(folder)}")
        if out.exists():
            out.rename(folder / f"refused{attempt}")
    return None


@cache
def _warm() -> None:
    """Train once in this process, so that its children need not import what training needs."""
    small = [*settings.SAFE, "training.epochs=1", "data.limit=20", "model.depth=2", "watch.conflict=false"]
    for more in ([], ["model.network=staged", "model.trunk=mlp"]):
        with TemporaryDirectory() as folder:
            train(resolve("digits", [*small, *more]), Path(folder) / "run")


def _in_child(prepare: Callable[[], None], recipe: Path, out: Path, folder: Path) -> int:
    """Train in a forked process, after `prepare` there; return its exit code, or the negative of the signal that ended it."""
    _warm()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        config = resolve(recipe)
        prepare()
        train(config, out, resume=True)
        code = 0
    except Interrupted as stop:
        code = 128 + stop.signal
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except NAMED as error:
        code = 2
        (folder / "said").write_text(str(error))
    except BaseException:
        (folder / "said").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def _said(folder: Path) -> str:
    return (folder / "said").read_text()[-3000:] if (folder / "said").exists() else ""


def _count(folder: Path) -> None:
    """Count the calls of this process, of all functions and of those that change files, and write the numbers when it ends."""
    counted = {"calls": 0, "files": 0}

    def hook(frame: FrameType, event: str, argument: Any) -> None:
        counted["calls"] += 1
        counted["files"] += _changes_files(event, argument)

    leave = os._exit

    def leaving(code: int) -> None:
        sys.setprofile(None)
        for name, number in counted.items():
            (folder / name).write_text(str(number))
        leave(code)

    os._exit = leaving  # type: ignore[assignment]
    sys.setprofile(hook)


def _die_at(which: str, moments: list[int], number: int) -> None:
    """Send this process a signal at its calls of these numbers."""
    left, count = list(moments), 0

    def hook(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += 1 if which == "calls" else _changes_files(event, argument)
        if left and count >= left[0]:
            left.pop(0)
            os.kill(os.getpid(), number)

    sys.setprofile(hook)


def _changes_files(event: str, argument: Any) -> bool:
    return event in ("c_call", "c_return") and getattr(argument, "__module__", None) in FILES
