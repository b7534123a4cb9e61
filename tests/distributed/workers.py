"""Real worker processes for tests: forked off a server without threads, which has imported what they need."""

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import chdir
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from torchsid.cli.main import main

Result = dict[str, Any] | list[Any] | str | float | None
ROOT = Path(__file__).parents[2]
Work = Callable[[int], Result]


def ready() -> None:
    """Start the server, if it does not run yet; it imports what lies where it starts."""
    multiprocessing.set_forkserver_preload(["pytest", "hypothesis", "tests.distributed.server"])
    with chdir(ROOT):
        forkserver.ensure_running()


def in_workers(work: Work, size: int = 2) -> list[Any]:
    """Run `work(rank)` in every worker; return its results by rank. An exception is raised here too.

    A result is what JSON can hold, or a dictionary of it, in which values may be tensors; None of a worker that left at once.
    """
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # outlives the workers, as torchrun's does
    ready()
    with TemporaryDirectory() as folder:
        mp.start_processes(_run, (work, size, store.port, Path(folder)), nprocs=size, start_method="forkserver")
        return [_read(Path(folder) / str(rank)) for rank in range(size)]


def exit_code(act: Callable[..., None], *arguments: Any) -> int | None:
    """How a process ends that does this."""
    ready()
    process = multiprocessing.get_context("forkserver").Process(target=act, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def start(folder: Path, *arguments: str) -> BaseProcess:
    """Start `torchsid` in a folder, in a process that can be killed."""
    ready()
    process = multiprocessing.get_context("forkserver").Process(target=_torchsid, args=(folder, *arguments))
    process.start()
    return process


def _torchsid(folder: Path, *arguments: str) -> None:
    os.chdir(folder)
    sys.exit(main(list(arguments)))


def error_of(function: Callable[[], object]) -> str:
    """Return kind and words of the error that a function raises."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def _run(rank: int, work: Work, size: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    _write(folder / str(rank), work(rank))


def _write(path: Path, result: Result) -> None:
    tensors: dict[str, Tensor] = {}
    if isinstance(result, dict):
        tensors = {name: value.detach().clone() for name, value in result.items() if isinstance(value, Tensor)}
        result = {name: value for name, value in result.items() if name not in tensors}
    path.with_suffix(".json").write_text(json.dumps(result))
    safetensors.torch.save_file(tensors, path.with_suffix(".safetensors"))


def _read(path: Path) -> Result:
    if not path.with_suffix(".json").exists():
        return None
    result = json.loads(path.with_suffix(".json").read_text())
    tensors = safetensors.torch.load_file(path.with_suffix(".safetensors"))
    return result | tensors if isinstance(result, dict) else result
