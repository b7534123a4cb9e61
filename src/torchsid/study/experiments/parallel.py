"""Trainings in processes that end with us: several runs at a time, or one run by several workers.

`concurrent.futures` leaves its processes behind when this one is terminated, and does not tell them of a signal.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import TypeVar, cast

import torch

from torchsid.bench.processes import in_fresh_processes
from torchsid.errors import DataError, NonFiniteError, RunError
from torchsid.training import Interrupted, RunConfig, spread
from torchsid.training.session import stop_on_signal

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOOK = 0.2  # seconds between two looks for a signal


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


def on_workers(train: Callable[[Item], object], item: Item, out: Path, workers: int) -> None:
    """Call `train(item)`, which goes on with the run in `out`, on workers that find each other as those of `torchrun` do.

    A signal to this process ends them, and they save the run; so they do where this process is killed, of which Linux tells them.

    Raises:
        NonFiniteError: the run diverged.
        DataError: the data are missing or damaged.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
        RunError: a worker failed otherwise.
    """
    with stop_on_signal() as stop:
        try:
            in_fresh_processes(_train, train, item, workers=workers, ends=lambda: stop.signal is not None)
        except RunError as error:
            for kind in (NonFiniteError, DataError):
                if found := re.search(rf"\b{kind.__name__}: (.*)", str(error)):
                    raise kind(found[1]) from None
            if stop.signal is None:
                raise RunError(f"{out}: {error}") from None
        if stop.signal is not None:
            raise Interrupted(out, stop.signal)


def _train(train: Callable[[Item], object], item: Item) -> None:
    _leave_terminal()
    with suppress(Interrupted):
        train(item)


def _leave_terminal() -> None:
    """Have Ctrl-C reach this process through its parent alone, hence once."""
    if hasattr(os, "setsid"):
        os.setsid()


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
    _leave_terminal()
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
