"""A case: what a kind does with one seed, and what may come of it."""

import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import torch

from torchsid import errors
from torchsid.cli.main import main

NAMED: tuple[type[Exception], ...] = tuple(
    each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ValueError)
)
"""The errors that a user may meet."""
KINDS = ("settings", "damage", "kills", "models", "transformers", "jobs")
"""A kind is the file of its name, whose function `case` does one and returns in a few words what came of it."""
LONGEST = 3000
"""Characters of a message that a person still reads."""


class BrokenPromiseError(AssertionError):
    """A promise that a case found broken."""


def run(kind: str, seed: int) -> str:
    """Run one case and return what came of it, such as `trained` or `ConfigError`; whatever it raises is a finding."""
    case: Callable[[Random, Path], str] = import_module(f"tests.fuzz.{kind}").case
    torch.manual_seed(seed)
    try:
        with TemporaryDirectory(prefix="fuzz-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return case(Random(f"{kind}/{seed}"), Path(folder))
    except BaseException as error:
        error.add_note(f"once more: python -m tests.fuzz {kind} {seed}")
        raise


def named(error: Exception) -> str:
    """Return the name of an error that a user may meet, once its message is found short."""
    if len(str(error)) > LONGEST:
        raise BrokenPromiseError(f"a message of {len(str(error)):,} characters: {str(error)[:300]}") from error
    return type(error).__name__


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def warned(self) -> bool:
        """Whether it said that something is not as it was."""
        return "warning" in (self.out + self.err).lower()


def command(*arguments: str | Path) -> Answer:
    """Run `torchsid` in this process; an exception that leaves it is a finding, and so is an unknown code or an endless message."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as left:  # argparse
            code = left.code if isinstance(left.code, int) else 1
    answer = Answer(code, out.getvalue(), err.getvalue())
    words = f"torchsid {' '.join(map(str, arguments))}: code {code}, {answer.err[-600:]}"
    if code not in (0, 2, 130, 143) or "Traceback" in answer.err:
        raise BrokenPromiseError(words)
    if code == 2 and "error:" not in answer.err:
        raise BrokenPromiseError(f"no error was named: {words}")
    if len(answer.err) > LONGEST + 1000:
        raise BrokenPromiseError(f"{len(answer.err):,} characters of errors: {words}")
    return answer


@contextlib.contextmanager
def without_reports() -> Iterator[None]:
    """Let `torchsid train` write no report, which takes longer than all the rest."""
    jinja2 = sys.modules.get("jinja2")
    sys.modules["jinja2"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["jinja2"]
        if jinja2:
            sys.modules["jinja2"] = jinja2
