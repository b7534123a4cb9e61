"""One training on several workers: a job of `torchrun` as a child of this process, with the errors of a training in this one."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from torchsid.errors import DataError, NonFiniteError, RunError
from torchsid.training import Interrupted, RunConfig, spread, to_toml
from torchsid.training.interruption import stop_on_signal

_LOOK = 0.2  # seconds between two looks at the job
_SET_DEATH_SIGNAL = 1  # Linux: PR_SET_PDEATHSIG
_C = ctypes.CDLL(None) if sys.platform == "linux" else None
_LINES = 25  # of a failed job's output that are shown


def problems(config: RunConfig, workers: int) -> Iterator[str]:
    """Yield why a configuration cannot be trained by so many workers; nothing where it can."""
    distributed = config.distributed
    if workers == 1:
        if distributed.staleness:
            yield f"distributed.staleness = {distributed.staleness} does nothing in one process: set workers to 2 or more"
        return
    positions, left = divmod(workers, distributed.replicas)
    if left:
        yield f"workers = {workers} is no multiple of distributed.replicas = {distributed.replicas}"
    yield from spread.problems(config, positions)


def train_on_workers(config: RunConfig, out: Path, workers: int) -> None:
    """Train as `torchrun --nproc-per-node WORKERS -m torchsid train` does; a run that was interrupted goes on.

    A signal to this process ends the job, which saves the run; where this process is killed, Linux sends the job SIGTERM.

    Raises:
        NonFiniteError: the run diverged.
        DataError: the data are missing or damaged.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
        RunError: the job failed otherwise; has the end of what it printed.
    """
    with TemporaryDirectory(prefix="torchsid-") as name, stop_on_signal() as stop:
        folder = Path(name)
        recipe, printed = folder / "config.toml", folder / "printed.txt"
        recipe.write_text(to_toml(config), encoding="utf-8")
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}", f"--log-dir={folder / 'logs'}"]
        training = ["-m", "torchsid", "train", str(recipe), "--out", str(out), "--resume", "--quiet"]
        with printed.open("wb") as output:
            job = subprocess.Popen(
                [sys.executable, *launcher, *training],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C reaches it through us, hence once
                preexec_fn=_end_with_parent if os.name == "posix" else None,
            )
        try:
            while job.poll() is None and stop.signal is None:
                time.sleep(_LOOK)
        finally:
            if job.poll() is None:
                job.terminate()
            job.wait()  # the launcher ends its workers, by force after half a minute
        if stop.signal is not None:
            raise Interrupted(out, stop.signal)
        if job.returncode:
            said = "\n".join(printed.read_text("utf-8", errors="replace").splitlines()[-_LINES:])
            raise _recorded(folder) or RunError(f"{out}: {workers} workers failed; the end of what they said:\n{said}")


def _end_with_parent() -> None:
    """Have SIGTERM sent to this process when its parent dies, however it does; Linux alone can."""
    if _C is not None:
        _C.prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)


def _recorded(folder: Path) -> ValueError | None:
    """Return the error that a worker recorded for the launcher, if it is of a kind that an experiment goes on after."""
    for path in sorted(folder.glob("logs/**/error.json")):
        name, _, message = str(json.loads(path.read_text("utf-8"))["message"]["message"]).partition(": ")
        for kind in (NonFiniteError, DataError):
            if name == kind.__name__:
                return kind(message)
    return None
