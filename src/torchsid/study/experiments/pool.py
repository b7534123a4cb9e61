"""Work for several processes at a time that ends with us: each hears of our signals, and none outlives us.

`concurrent.futures` leaves its processes behind when this one is terminated, and waits forever for one that only noted the signal.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import Synchronized
from typing import TypeVar

from torchsid.errors import RunError
from torchsid.training.interruption import stop_on_signal

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOOK = 0.2  # seconds between two looks for a signal
_SET_DEATH_SIGNAL = 1  # Linux: PR_SET_PDEATHSIG
_C = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """Have SIGTERM sent to this process when its parent dies, however it does; Linux alone can."""
    if _C is not None:
        _C.prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)


def at_once(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    """Yield `work(item)` of every item in their order, computed by so many processes.

    A signal to this process is passed on once; the processes finish what they have under way, which is asked to stop as well, and
    begin nothing further.

    Raises:
        KeyboardInterrupt: a signal came, and nothing is left to yield; the processes have ended.
        RunError: a process was killed.
        Exception: what `work` raised first.
    """
    context = get_context("spawn")
    taken = context.Value("i", 0)
    running: dict[Connection, SpawnProcess] = {}
    found: dict[int, Result] = {}
    with stop_on_signal() as stop:
        for _ in range(min(processes, len(items))):
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_serve, args=(work, items, taken, writer))
            process.start()
            writer.close()
            running[reader] = process
        told = False
        try:
            for number in range(len(items)):
                while number not in found and running:
                    _receive(running, found, stopping=told)
                    if stop.signal is not None and not told:
                        _end(running)
                        told = True
                if number not in found:
                    raise KeyboardInterrupt
                yield found.pop(number)
        finally:
            if not told:
                _end(running)
            for process in running.values():
                process.join()


def _receive(running: dict[Connection, SpawnProcess], found: dict[int, Result], *, stopping: bool) -> None:
    """Take what the processes have sent by now; one that has ended is left out from then on."""
    for reader in wait(list(running), _LOOK):
        assert isinstance(reader, Connection)
        try:
            number, result = reader.recv()
        except EOFError:
            process = running.pop(reader)
            process.join()
            if process.exitcode and not stopping:
                raise RunError(f"a process of the experiment was killed (exit code {process.exitcode}): out of memory?") from None
        else:
            if isinstance(result, Exception):
                raise result
            found[number] = result


def _end(running: dict[Connection, SpawnProcess]) -> None:
    for process in running.values():
        process.terminate()


def _serve(work: Callable[[Item], Result], items: Sequence[Item], taken: "Synchronized[int]", results: Connection) -> None:
    """Do one item after another until none is left or a signal comes."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C reaches us through the parent, hence once
    end_with_parent()
    with stop_on_signal() as stop, suppress(BrokenPipeError):
        while stop.signal is None:
            with taken.get_lock():
                number = taken.value
                taken.value += 1
            if number >= len(items):
                return
            try:
                results.send((number, work(items[number])))
            except Exception as error:
                results.send((number, error))
