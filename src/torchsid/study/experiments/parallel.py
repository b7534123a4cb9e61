"""Trainings in processes that end with us: several runs at a time, or one run by several workers."""

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import TypeVar

from torchsid.bench.processes import in_fresh_processes, ready_server
from torchsid.errors import DataError, NonFiniteError, RunError
from torchsid.training import Interrupted, RunConfig, spread
from torchsid.training.session import stop_on_signal

Item = TypeVar("Item")
Result = TypeVar("Result")

_TRAINING = "torchsid.training.loop"  # has imported what a training needs
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
    That is an Interrupted; a NonFiniteError or DataError of theirs is raised here, and any other failure is a RunError.
    """
    with stop_on_signal() as stop:
        try:
            in_fresh_processes(
                _apart, train, item, workers=workers, ends=lambda: stop.signal is not None, method=ready_server(_TRAINING)
            )
        except RunError as error:
            for kind in (NonFiniteError, DataError):
                if found := re.search(rf"\b{kind.__name__}: (.*)", str(error), re.DOTALL):
                    raise kind(found[1]) from None
            if stop.signal is None:
                raise RunError(f"{out}: {error}") from None
        if stop.signal is not None:
            raise Interrupted(out, stop.signal)


def at_once(work: Callable[[Item], Result], items: Iterable[Item], processes: int) -> Generator[tuple[Item, Result]]:
    """Yield every item with `work(item)` as it is ready: so many at a time in processes of their own, or one by one in this one.

    An item is taken when a process is free for it. A signal to this process ends the others as SIGTERM does, and is a
    KeyboardInterrupt; closing the generator early ends them too. An error of `work`, or a process that was killed, is a RunError.
    """
    if processes == 1:
        yield from ((item, work(item)) for item in items)
        return
    method = ready_server(_TRAINING)
    waiting, ended = iter(items), Event()
    running: dict[Future[Result], Item] = {}
    with stop_on_signal() as stop, ThreadPoolExecutor(processes) as pool:
        try:
            while stop.signal is None:
                for item in islice(waiting, processes - len(running)):
                    alone = partial(in_fresh_processes, _apart, work, item, ends=ended.is_set, method=method)
                    running[pool.submit(alone)] = item
                if not running:
                    return
                for done in wait(running, _LOOK, FIRST_COMPLETED).done:
                    yield running.pop(done), done.result()
            raise KeyboardInterrupt
        finally:
            ended.set()


def _apart(work: Callable[[Item], Result], item: Item) -> Result:
    """Do the work in a process that Ctrl-C reaches through its parent alone, hence once."""
    if hasattr(os, "setsid"):
        os.setsid()
    return work(item)
