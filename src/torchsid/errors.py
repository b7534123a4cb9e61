"""The errors a user can meet. Each is a `ValueError`, so that one `except` catches them all.

Every message says what was given, what is allowed and which setting fixes it.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_UNPRINTABLE = "[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
_LONGEST, _SHOWN = 400, 20  # characters of a problem of a configuration, and how many are shown


class ConfigError(ValueError):
    """A configuration has unknown keys or values out of range; `problems` lists all of them."""

    def __init__(self, problems: Sequence[str], *, source: str = "configuration") -> None:
        half = _LONGEST // 2
        self.problems = tuple(each if len(each) <= _LONGEST else f"{each[:half]} … {each[-half:]}" for each in problems)
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' * (count != 1)} in the {source}:{bullets(self.problems, _SHOWN)}")


class DataError(ValueError):
    """A data set is missing, damaged or does not fit the request; names file and row where there is one."""


class MissingPackageError(ImportError, DataError):
    """A package is not installed that this part needs; names the extra of torchsid that brings it."""


class TargetError(ValueError):
    """A target is not a class in [0, C) nor a probability row, or lacks the full support that `reverse` needs."""


class ScheduleError(ValueError):
    """A schedule cannot run this cascade; names the stage and the schedule that can."""


class CutError(ValueError):
    """A model cannot be cut into stages as asked; names the submodule, the tensors or parameters in the way, and the setting."""


class HeadError(ValueError):
    """A head cannot read the features of its stage, or costs more than its budget; names the shapes and the setting."""


class LocalityError(ValueError):
    """A stage's loss reaches the parameters of another stage."""


class NonFiniteError(ValueError):
    """NaN or infinity in the inputs, the losses, the gradients or the beliefs; names the step or the stage."""


class CheckpointError(ValueError):
    """A checkpoint is truncated, altered, or belongs to another configuration."""


class RunError(ValueError):
    """A run directory exists already, is incomplete, or cannot be written."""


class ExportError(ValueError):
    """A network cannot be written for another runtime, or does not answer there as it does here."""


class WorkerError(ValueError):
    """Workers of a job cannot be reached, or one of them hangs; names the worker and the setting."""


class PeerLostError(WorkerError):
    """Another worker closed its connections: it failed, and its own error is the one to read."""


def some_of(names: Sequence[str], most: int = 3) -> str:
    """Return the first of some names, and how many there are besides.

    >>> some_of(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def bullets(problems: Iterable[str], most: int = 10) -> str:
    r"""Return the first of some problems, a line each, for the end of a sentence, and how many there are besides.

    >>> bullets(["a", "b", "c", "d"], 2)
    '\n  - a\n  - b\n  - and 2 more'
    """
    found = list(problems)
    shown = [*found[:most], *([f"and {len(found) - most} more"] if len(found) > most else [])]
    return "".join(f"\n  - {problem}" for problem in shown)


def printable(text: str) -> str:
    r"""Return text as every terminal line, JSON, TOML, CSV and safetensors file can hold it.

    Bytes of a file's name that are no UTF-8, control characters, ends of lines and marks that turn the direction of reading are
    escaped; letters and emoji of all scripts stay.

    >>> printable("caf\udce9\n.png")
    'caf\\xe9\\x0a.png'
    """
    return re.sub(_UNPRINTABLE, lambda match: _escape(ord(match[0])), text)


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest of the allowed names, or an empty string when none is near."""
    nearest = get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return the message for a name that a registry does not hold.

    >>> unknown_name("schedule", "steaming", ["streaming", "batched"])
    "unknown schedule 'steaming' (did you mean 'streaming'?); allowed: batched, streaming"
    """
    known = sorted(allowed)
    return f"unknown {kind} {name!r}{did_you_mean(name, known)}; allowed: {', '.join(known)}"


def _escape(code: int) -> str:
    code -= 0xDC00 if 0xDC80 <= code <= 0xDCFF else 0  # how Python keeps a byte that is no UTF-8
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
