"""Finding run directories, and the table that compares them."""

from collections.abc import Sequence
from pathlib import Path

from torchsid.errors import RunError

MARK = "manifest.json"  # every run directory has one


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the runs that the paths name: a run itself, or all runs below a directory, each once.

    Raises:
        RunError: a path is no directory, or holds no run.
    """
    runs: list[Path] = []
    for path in paths:
        below = [path] if (path / MARK).is_file() else sorted(mark.parent for mark in path.rglob(MARK))
        if not below:
            reason = "holds no run" if path.is_dir() else "is no directory"
            raise RunError(f"{path} {reason}; `torchsid train RECIPE --out {path}` would make one")
        runs += [run for run in below if run not in runs]
    return runs
