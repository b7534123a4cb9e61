"""Who is to blame when a worker is not heard of: the one that failed or hangs, not those that wait for it.

Every worker leaves a note in the job's store, which needs no connection between workers: that it waits in vain, or by which error
it failed. Who leaves none hangs or was killed.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from torchsid.distributed.launcher import Launched, launched
from torchsid.errors import ConfigError, PeerLostError, WorkerError

if TYPE_CHECKING:
    from torchsid.distributed.world import World

T = TypeVar("T")

_TIMED_OUT, _CUT_OFF = "waited too long", "was cut off"
_WAITING = (_TIMED_OUT, _CUT_OFF)
_GRACE = 2.0  # seconds for the notes of those whose connection closed
_LATER = 3.0  # seconds by which those that lost another worker let that one go first
_PAUSE = 0.05  # seconds between two looks
WAITING = 0.7  # share of the timeout in which a worker waits for another; in the rest all say so


def finish(work: dist.Work | None, world: "World", what: str) -> None:
    """Wait for a message or a collective; `what` completes "waited for …".

    Raises:
        WorkerError: a worker hangs or has gone.
    """
    assert work is not None  # None is for those outside the group
    with explaining(world, what):
        work.wait(timedelta(seconds=world.patience))


@contextmanager
def explaining(world: "World", what: str) -> Iterator[None]:
    """Turn an error of the backend into one that says which worker is to blame.

    Raises:
        WorkerError: a worker hangs.
        PeerLostError: a worker failed, or was killed.
    """
    if world.lost:  # nobody waits twice for a worker that does not come
        raise world.lost[0]
    try:
        yield
    except RuntimeError as error:
        world.lost.append(_verdict(world, what, timed_out="imed out" in str(error) or "imeout" in str(error)))
        raise world.lost[0] from None


def within(seconds: float, ask: Callable[[], T]) -> T:
    """Return what is asked of the job's store; whoever keeps it may hang, and no call of the store ends then.

    Raises:
        TimeoutError: no answer came in time.
    """
    answer: Future[T] = Future()

    def call() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=call, daemon=True).start()
    return answer.result(seconds)


def speaks(error: Exception) -> bool:
    """Return whether this worker is the one to say an error, which several workers may meet; what a worker died of, it says itself.

    Workers agree in the store of `torchrun`. Where there is none, the first says what is wrong with the configuration.
    """
    worker = launched_quietly()
    if worker is None or isinstance(error, PeerLostError):
        return worker is None
    text = "workers" if isinstance(error, WorkerError) else hashlib.sha256(str(error).encode(errors="replace")).hexdigest()

    def claim() -> bool:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=_GRACE))  # type: ignore[attr-defined]
        return bool(store.add(f"restart-{worker.restarts}/said/{text}", 1) == 1)

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        with suppress(RuntimeError, OSError, ValueError, KeyError):
            return within(_GRACE, claim)
    return worker.rank == 0 or not isinstance(error, ConfigError)


def launched_quietly() -> Launched | None:
    """Return who this worker is; None as well where its environment is nonsense, which it says itself."""
    try:
        return launched()
    except ConfigError:
        return None


def leave_note(store: Store, rank: int, error: BaseException) -> None:
    """Tell the others by which error this worker ends; if it waits in vain, it has said so already."""
    note = _CUT_OFF if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"

    def leave() -> None:
        if not store.check([f"note/{rank}"]):
            store.set(f"note/{rank}", note)

    with suppress(RuntimeError, TimeoutError):  # the store may have gone, or hang
        within(_GRACE, leave)


def missing_backends(device: torch.device) -> Iterator[str]:
    """Yield why processes with such a device cannot talk to each other by this build of PyTorch."""
    if not dist.is_available() or not dist.is_gloo_available():
        yield "this build of PyTorch has no torch.distributed with gloo, by which workers talk: install another"
    elif device.type == "cuda" and not dist.is_nccl_available():
        yield "this build of PyTorch has no NCCL backend for training.device = 'cuda': set training.device = 'cpu'"


def tell_launcher(error: Exception) -> None:
    """Record an error where `torchrun` looks for it, which shows the first; a worker that lost another one lets it go first."""
    if isinstance(error, WorkerError):
        time.sleep(_LATER)
    handler = get_error_handler()
    handler.initialize()
    handler.record_exception(error)


def _verdict(world: "World", what: str, *, timed_out: bool) -> WorkerError:
    notes, answered = _collect_notes(world, _TIMED_OUT if timed_out else _CUT_OFF)
    told = f"worker {world.rank} waited {world.patience:g} s for {what}" if timed_out else f"worker {world.rank} lost {what}"
    if failed := [f"worker {rank} failed: {note}" for rank, note in sorted(notes.items()) if note not in _WAITING]:
        return PeerLostError("; ".join([told, *failed]))
    if not answered:
        keeper = "the launcher" if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else "worker 0"
        return WorkerError(f"{told}; {keeper}, which keeps the job's notes, gave no sign of life: it hangs")
    silent = [rank for rank in range(world.size) if rank not in notes]
    who = f"worker{'s' if len(silent) > 1 else ''} {', '.join(map(str, silent))}"
    if _TIMED_OUT not in notes.values():
        return WorkerError(f"{told}; {who} closed the connection without a word: killed, or out of memory" if silent else told)
    if not silent:
        return WorkerError(f"{told}; every worker is alive: raise distributed.timeout if a step takes that long")
    return WorkerError(f"{told}; {who} gave no sign of life: it hangs, or needs a longer distributed.timeout")


def _collect_notes(world: "World", own: str) -> tuple[Mapping[int, str], bool]:
    """Return the notes by rank, and whether the store answered.

    They are there as soon as one worker has failed, all have left one, or those missing will not come.
    """
    notes, patience = {world.rank: own}, max(world.timeout - world.patience, _PAUSE)
    started = time.monotonic()

    def look() -> None:
        world.store.set(f"note/{world.rank}", own)
        while True:
            for rank in range(world.size):
                if rank not in notes and world.store.check([f"note/{rank}"]):
                    notes[rank] = world.store.get(f"note/{rank}").decode()
            enough = patience if _TIMED_OUT in notes.values() else min(_GRACE, patience)
            failed = any(note not in _WAITING for note in notes.values())
            if failed or len(notes) == world.size or time.monotonic() - started > enough:
                break
            time.sleep(_PAUSE)

    try:
        within(patience + _PAUSE, look)
    except TimeoutError:
        return dict(notes), False
    except RuntimeError:  # the store has gone: judge by what is known
        pass
    return notes, True
