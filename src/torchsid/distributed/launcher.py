"""What the launcher's environment says of this process; read without torch."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from torchsid.errors import ConfigError

_MOST = 2**16  # workers; and ports, from 0


class Launched(NamedTuple):
    """Who this worker is."""

    rank: int
    size: int
    local_rank: int
    """Among the workers of this machine."""
    restarts: int
    """How often the launcher has started the workers anew."""


def launched() -> Launched | None:
    """Return who this worker is; None where nobody has started this process as one of several.

    Raises:
        ConfigError: the environment is incomplete or holds nonsense; names all variables.
    """
    given = os.environ.keys() & {"RANK", "WORLD_SIZE"}
    if not given or (given == {"WORLD_SIZE"} and os.environ["WORLD_SIZE"].strip() == "1"):
        return None
    size = _number("WORLD_SIZE", 1, _MOST)
    most = (size if isinstance(size, int) else _MOST) - 1
    found = (
        _number("RANK", 0, most),
        size,
        _number("LOCAL_RANK", 0, most, "0"),
        _number("TORCHELASTIC_RESTART_COUNT", 0, _MOST, "0"),
    )
    asked = [*found, *([_number("MASTER_PORT", 1, _MOST - 1)] if "MASTER_PORT" in os.environ else [])]
    if problems := [each for each in asked if isinstance(each, str)]:
        raise ConfigError(problems, source="launcher's environment")
    worker = Launched(*(int(each) for each in found))
    return worker if worker.size > 1 else None


def missing() -> Iterator[str]:
    """Yield which variables a worker lacks to meet the others."""
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            yield f"{name} is not set: start the job by `torchrun --nproc-per-node N -m torchsid train RECIPE`"


def _number(name: str, least: int, most: int, default: str = "") -> int | str:
    """Return a whole number from the environment, or why there is none."""
    text = os.environ.get(name, default)
    if text.strip().isascii() and text.strip().isdigit() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    what = f"= {text[:40]!r}" if text else "is not set"
    return f"{name} {what}: a worker needs a number from {least} to {most}; start the job by torchrun, or unset RANK and WORLD_SIZE"
