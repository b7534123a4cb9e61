"""Trainings in processes that end with us: several runs at a time, or one run by a job of `torchrun`.

`concurrent.futures` leaves its processes behind when this one is terminated, and does not tell them of a signal.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TypeVar, cast

import torch

from torchsid.errors import DataError, NonFiniteError, RunError
from torchsid.training import Interrupted, RunConfig, spread, to_toml
from torchsid.training.session import stop_on_signal

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOOK = 0.2  # seconds between two looks for a signal and at a job
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


def at_once(work: Callable[[Item], Result], items: Iterable[Item], processes: int) -> Generator[tuple[Item, Result]]:
    """Yield every item with `work(item)` as it is ready: so many at a time in processes of their own, or one by one in this one.

    An item is taken when a process is free for it. A signal to this process ends the others as SIGTERM does, and so does closing
    the generator early.

    Raises:
        KeyboardInterrupt: a signal came; the processes have ended.
        RunError: `work` raised a ValueError, whose message this has, or a process failed or was killed.
    """
    if processes == 1:
        yield from ((item, work(item)) for item in items)
        return
    # The server imports what training needs once, and every process is a copy of it. Optimisers import dynamo as they begin; beside
    # CUDA they do it themselves, for nothing may touch the driver before the copy is made.
    context = get_context("forkserver") if sys.platform == "linux" else get_context("spawn")
    context.set_forkserver_preload(["torchsid.training.loop", *([] if torch.version.cuda else ["torch._dynamo"])])
    waiting = iter(items)
    running: dict[Connection, tuple[Item, BaseProcess]] = {}
    with stop_on_signal() as stop:
        try:
            while stop.signal is None:
                for item in islice(waiting, processes - len(running)):
                    reader, writer = context.Pipe(duplex=False)
                    process: BaseProcess = context.Process(target=_serve, args=(work, item, writer))
                    process.start()
                    writer.close()
                    running[reader] = item, process
                if not running:
                    return
                for reader in cast(list[Connection], wait(list(running), _LOOK)):
                    item, process = running.pop(reader)
                    yield item, cast(Result, _result(reader, process))
            raise KeyboardInterrupt
        finally:
            for _, process in running.values():
                process.terminate()
            for reader, (_, process) in running.items():
                process.join()
                reader.close()


def _result(reader: Connection, process: BaseProcess) -> object:
    with reader:
        try:
            result, problem = reader.recv()
        except EOFError:
            process.join()
            reason = "its error stands above" if process.exitcode == 1 else "it was killed, for want of memory perhaps"
            raise RunError(f"a process of the experiment ended with exit code {process.exitcode}: {reason}") from None
    process.join()
    if problem:
        raise RunError(problem)
    return result


def _serve(work: Callable[[Item], Result], item: Item, writer: Connection) -> None:
    """Do the work, and send its result or what the user did wrong."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C reaches us through the parent, hence once
    Thread(target=_stop_with_parent, daemon=True).start()
    with suppress(KeyboardInterrupt, BrokenPipeError):
        try:
            writer.send((work(item), ""))
        except ValueError as error:
            writer.send((None, str(error)))


def _stop_with_parent() -> None:
    """Wait until the parent has died, however it did, and ask this process to stop."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
