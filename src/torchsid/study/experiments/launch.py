"""One training on several workers: a job of `torchrun` as a child of this process, with the errors of a training in this one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from torchsid.errors import NonFiniteError, RunError
from torchsid.study.experiments.pool import end_with_parent
from torchsid.training import spread
from torchsid.training.config import RunConfig, to_toml
from torchsid.training.interruption import Interrupted, StopRequest, stop_on_signal

_LOOK = 0.2  # seconds between two looks at the job
_LINES = 25  # of a failed job's output that are shown


def problems(config: RunConfig, workers: int) -> Iterator[str]:
    """Yield why a configuration cannot be trained by so many workers; nothing where it can."""
    model, distributed = config.model, config.distributed
    if workers == 1:
        if distributed.staleness:
            yield f"distributed.staleness = {distributed.staleness} does nothing in one process: set workers to 2 or more"
        return
    yield from spread.problems(config)
    positions, left = divmod(workers, distributed.replicas)
    if left:
        yield f"workers = {workers} is no multiple of distributed.replicas = {distributed.replicas}"
    most = model.depth + (model.network == "cascade")  # the extractor of a shared cascade has a worker of its own
    if positions > most:
        yield f"workers = {workers} for model.depth = {model.depth}: at most {most * distributed.replicas}, or more stages"


def train_on_workers(config: RunConfig, out: Path, workers: int) -> None:
    """Train as `torchrun --nproc-per-node WORKERS -m torchsid train` does; a run that was interrupted goes on.

    A signal to this process is passed on to the job, which saves the run; where this process is killed, Linux passes SIGTERM on.

    Raises:
        NonFiniteError: the run diverged.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
        RunError: the job failed otherwise; has the end of what it printed.
    """
    with TemporaryDirectory(prefix="torchsid-") as name:
        folder = Path(name)
        recipe, printed = folder / "config.toml", folder / "printed.txt"
        recipe.write_text(to_toml(config), encoding="utf-8")
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}", f"--log-dir={folder / 'logs'}"]
        training = ["-m", "torchsid", "train", str(recipe), "--out", str(out), "--resume", "--quiet"]
        with stop_on_signal() as stop:
            code = _run([sys.executable, *launcher, *training], printed, stop)
        if stop.signal is not None:
            raise Interrupted(out, stop.signal)
        if code:
            _raise(folder, f"{out}: {workers} workers failed; the end of what they said:\n{_end_of(printed)}")


def _run(command: list[str], printed: Path, stop: StopRequest) -> int:
    """Run a command in a process group of its own, tell it of the signal that comes, and return its exit code."""
    with printed.open("wb") as output:
        job = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C reaches it through us, hence once
            preexec_fn=end_with_parent if os.name == "posix" else None,
        )
    told = False
    try:
        while True:
            try:
                return job.wait(_LOOK)
            except subprocess.TimeoutExpired:
                if stop.signal is not None and not told:
                    job.send_signal(stop.signal)
                    told = True
    finally:
        if job.poll() is None and not told:  # an error of our own
            job.terminate()
        job.wait()  # the launcher ends its workers, by force after half a minute


def _raise(folder: Path, otherwise: str) -> None:
    """Raise what a worker recorded for the launcher if the run diverged, and else a `RunError` that says `otherwise`."""
    kind = f"{NonFiniteError.__name__}: "
    for path in sorted(folder.glob("logs/**/error.json")):
        message = str(json.loads(path.read_text("utf-8"))["message"]["message"])
        if message.startswith(kind):
            raise NonFiniteError(message.removeprefix(kind))
    raise RunError(otherwise)


def _end_of(printed: Path) -> str:
    return "\n".join(printed.read_text("utf-8", errors="replace").splitlines()[-_LINES:])
