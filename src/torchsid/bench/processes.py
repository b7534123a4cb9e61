"""Call a function in fresh processes: memory is then its own, and several of them can talk to each other."""

import os
import re
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from threading import Thread
from typing import Any, TypeVar, TypeVarTuple

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

from torchsid.distributed import launcher
from torchsid.distributed.diagnosis import missing_backends
from torchsid.errors import RunError

T = TypeVar("T")
Args = TypeVarTuple("Args")


def launched() -> bool:
    """Return whether a launcher, such as torchrun, has started this process as one of several."""
    launcher.launched()  # nonsense is named
    return {"RANK", "WORLD_SIZE"} <= os.environ.keys()


def problems(workers: int) -> list[str]:
    """Return why `workers` processes cannot talk to each other here."""
    if found := list(missing_backends(torch.device("cpu"))):
        return found
    if launched() and int(os.environ["WORLD_SIZE"]) != workers:
        return [f"workers {workers}: the launcher started {os.environ['WORLD_SIZE']} processes; give one of these numbers to both"]
    return []


def in_fresh_processes(
    work: Callable[[*Args], T],
    *args: *Args,
    workers: int = 1,
    ends: Callable[[], bool] = lambda: False,
    method: str = "spawn",
) -> T:
    """Call `work(*args)`, a function of a module, in fresh processes, and return what it returned in the first of them.

    They find each other as those that `torchrun` starts do; `ends` says whether they are to end, which SIGTERM tells them. The
    method is that by which `multiprocessing` starts them: "spawn" where memory is measured, else `ready_server`, which is faster.
    Where one of them fails, that is a RunError.
    """
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False) if workers > 1 else None  # type: ignore[attr-defined]
    results: SimpleQueue[Any] = get_context(method).SimpleQueue()
    given = (workers, store.port if store else 0, results, work, args)
    started = start_processes(  # type: ignore[no-untyped-call]
        _call, given, nprocs=workers, join=False, daemon=False, start_method=method
    )
    found, told = [], False
    try:
        while not started.join(timeout=0.1):
            if not told and (told := ends()):
                for process in started.processes:
                    process.terminate()
            if not results.empty():
                found.append(results.get())
    except ProcessExitedException as error:
        raise RunError(f"process {error.error_index} failed: {error.msg}; if it was killed, use a smaller batch") from None
    except ProcessRaisedException as error:
        *_, said = re.split(r"\n(?=\w)", error.msg.strip())  # all of what follows the traceback, which is indented
        raise RunError(f"process {error.error_index} failed: {said}") from None
    finally:
        for process in started.processes:
            process.terminate()
    if not found and results.empty():
        raise RunError("process 0 was interrupted")
    result: T = found[0] if found else results.get()
    return result


def ready_server(module: str) -> str:
    """Return how a process is started: on Linux it is a copy of a server's, which imports the module once.

    Optimisers import dynamo as they begin; beside CUDA they do it themselves, for nothing may touch the driver before the copy is
    made.
    """
    method = "forkserver" if sys.platform == "linux" else "spawn"
    get_context(method).set_forkserver_preload([module, *([] if torch.version.cuda else ["torch._dynamo"])])
    return method


def _call(rank: int, workers: int, port: int, results: "SimpleQueue[Any]", work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    Thread(target=_stop_with_parent, daemon=True).start()
    if workers > 1:
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(workers)}
        os.environ |= place | {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    result = work(*args)
    if rank == 0:
        results.put(result)


def _stop_with_parent() -> None:
    """Ask this process to stop when its parent has died, of which Linux tells only the server that made it."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
