"""Start worker processes on this machine, or take part as one of those that a launcher has started."""

import os
from collections.abc import Callable, Mapping
from tempfile import TemporaryDirectory
from typing import TypeVar
from uuid import uuid4

import torch.distributed as dist

from torchsid.errors import RunError

T = TypeVar("T")


def launched() -> bool:
    """Return whether a launcher, such as torchrun, has started this process as one of several."""
    return {"RANK", "WORLD_SIZE"} <= os.environ.keys()


def problems(workers: int) -> list[str]:
    """Return why `workers` processes cannot talk to each other here."""
    if not dist.is_available() or not dist.is_gloo_available():
        return ["this build of PyTorch has no torch.distributed with gloo, by which workers talk: install another"]
    if launched() and int(os.environ["WORLD_SIZE"]) != workers:
        return [f"workers {workers}: the launcher started {os.environ['WORLD_SIZE']} processes; give one of these numbers to both"]
    return []


def run(work: Callable[[str], T | None], text: str, workers: int) -> T | None:
    """Run `work(text)` in every worker, and return what it returned in the first; elsewhere, under a launcher, None.

    Args:
        work: a function of a module, to be found by name in a fresh process.
        text: its argument.
        workers: the number of processes, which a launcher has started already.

    Raises:
        RunError: a worker failed.
    """
    if launched():
        return work(text)
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    try:
        with TemporaryDirectory() as logs:  # where a worker leaves its error
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=workers,
                logs_specs=DefaultLogsSpecs(logs),
                run_id=uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                local_addr="localhost",
                max_restarts=0,
            )
            results: dict[int, T] = elastic_launch(config, work)(text)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise RunError(f"worker {rank} failed: {_last_line(failure.message)}") from None
    except SignalException:
        raise KeyboardInterrupt from None
    return results[0]


def _last_line(message: str | Mapping[str, str]) -> str:
    """Return the end of what a worker left behind: a text, or the text with facts about it."""
    text = message if isinstance(message, str) else message["message"]
    return (text.strip().splitlines() or ["killed, perhaps for its memory: use a smaller batch"])[-1]
