"""Real worker processes for tests: forked, so that they start at once."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch.multiprocessing as mp

Work = Callable[[int], Any]


def in_workers(work: Work, size: int = 2) -> list[Any]:
    """Run `work(rank)` in every worker; return its results by rank, which go through JSON. An exception is raised here too."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with TemporaryDirectory() as folder:
        mp.start_processes(_run, (work, size, port, Path(folder)), nprocs=size, start_method="fork")
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(size)]


def _run(rank: int, work: Work, size: int, port: int, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    (folder / f"{rank}.json").write_text(json.dumps(work(rank)))
