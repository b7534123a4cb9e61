"""Who is to blame when a worker is not heard of: the one that failed or hangs, not those that wait for it.

Every worker leaves a note in the job's store, which needs no connection between workers: that it waits in vain, or by which error
it failed. Who leaves none hangs or was killed.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from torchsid.errors import PeerLostError, WorkerError

if TYPE_CHECKING:
    from torchsid.distributed.world import World

_TIMED_OUT, _CUT_OFF = "waited too long", "was cut off"
_WAITING = (_TIMED_OUT, _CUT_OFF)
_GRACE = 2.0  # seconds for the notes of those whose connection closed
_LATER = 3.0  # seconds by which those that lost another worker let that one go first
_PAUSE = 0.05  # seconds between two looks


def finish(work: dist.Work | None, world: "World", what: str) -> None:
    """Wait for a message or a collective; `what` completes "waited for …".

    Raises:
        WorkerError: a worker hangs or has gone.
    """
    assert work is not None  # None is for those outside the group
    with explaining(world, what):
        work.wait(timedelta(seconds=world.timeout))


@contextmanager
def explaining(world: "World", what: str) -> Iterator[None]:
    """Turn an error of the backend into one that says which worker is to blame.

    Raises:
        WorkerError: a worker hangs.
        PeerLostError: a worker failed, or was killed.
    """
    try:
        yield
    except RuntimeError as error:
        raise _verdict(world, what, timed_out="imed out" in str(error) or "imeout" in str(error)) from None


def leave_note(store: Store, rank: int, error: BaseException) -> None:
    """Tell the others by which error this worker ends; if it waits in vain, it has said so already."""
    note = _CUT_OFF if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"
    with suppress(RuntimeError):  # the store may have gone
        if not store.check([f"note/{rank}"]):
            store.set(f"note/{rank}", note)


def missing_backends(device: torch.device) -> Iterator[str]:
    """Yield why processes with such a device cannot talk to each other by this build of PyTorch."""
    if not dist.is_available() or not dist.is_gloo_available():
        yield "this build of PyTorch has no torch.distributed with gloo, by which workers talk: install another"
    elif device.type == "cuda" and not dist.is_nccl_available():
        yield "this build of PyTorch has no NCCL backend for training.device = 'cuda': set training.device = 'cpu'"


def tell_launcher(error: Exception) -> None:
    """Record an error where `torchrun` looks for it, which shows the first; a worker that lost another one lets it go first."""
    if isinstance(error, PeerLostError):
        time.sleep(_LATER)
    handler = get_error_handler()
    handler.initialize()
    handler.record_exception(error)


def _verdict(world: "World", what: str, *, timed_out: bool) -> WorkerError:
    notes = _collect_notes(world, _TIMED_OUT if timed_out else _CUT_OFF)
    told = f"worker {world.rank} waited {world.timeout:g} s for {what}" if timed_out else f"worker {world.rank} lost {what}"
    if failed := [f"worker {rank} failed: {note}" for rank, note in sorted(notes.items()) if note not in _WAITING]:
        return PeerLostError("; ".join([told, *failed]))
    silent = [rank for rank in range(world.size) if rank not in notes]
    who = f"worker{'s' if len(silent) > 1 else ''} {', '.join(map(str, silent))}"
    if _TIMED_OUT not in notes.values():
        return PeerLostError(f"{told}; {who} closed the connection without a word: killed, or out of memory" if silent else told)
    if not silent:
        return WorkerError(f"{told}; every worker is alive: raise distributed.timeout if a step takes that long")
    return WorkerError(f"{told}; {who} gave no sign of life: it hangs, or needs a longer distributed.timeout")


def _collect_notes(world: "World", own: str) -> Mapping[int, str]:
    """Return the notes by rank, as soon as one worker has failed, all have left one, or those missing will not come."""
    notes = {world.rank: own}
    started = time.monotonic()
    with suppress(RuntimeError):  # the store has gone: judge by what is known
        world.store.set(f"note/{world.rank}", own)
        while True:
            for rank in range(world.size):
                if rank not in notes and world.store.check([f"note/{rank}"]):
                    notes[rank] = world.store.get(f"note/{rank}").decode()
            patience = world.timeout if _TIMED_OUT in notes.values() else _GRACE
            failed = any(note not in _WAITING for note in notes.values())
            if failed or len(notes) == world.size or time.monotonic() - started > patience:
                break
            time.sleep(_PAUSE)
    return notes
