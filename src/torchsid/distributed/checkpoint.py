"""Sharded tensors by `torch.distributed.checkpoint`, as safetensors: every worker writes what it holds and reads what it needs.

Names decide, not positions: what N workers wrote, M workers read.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from torchsid.distributed.diagnosis import explaining
from torchsid.distributed.world import World


def write_shards(directory: Path, tensors: Mapping[str, Tensor], world: World) -> dict[str, str]:
    """Write this worker's tensors as a file of the directory, which exists; return the SHA-256 of all workers' files, by name.

    The first replica of a stage writes it.

    Raises:
        OSError: the operating system refuses on one of the workers.
        WorkerError: another worker hangs or has gone.
    """
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()} if world.replica == 0 else {}
    writer = HuggingFaceStorageWriter(str(directory), save_distributed=True)
    with _together(world):
        state_dict_saver.save(own, storage_writer=writer, process_group=world.control)
    checksums: dict[str, str] = {}
    for path in sorted(directory.glob("*.safetensors"))[world.rank :: world.size]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            checksums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return {name: digest for each in world.gather(checksums) for name, digest in each.items()}


def read_shards(directory: Path, wanted: Callable[[str], bool], checksums: Mapping[str, str], world: World) -> dict[str, Tensor]:
    """Return the tensors whose names are wanted, on the CPU, after the files were checked, each by one worker.

    Raises:
        ValueError: a file is missing, truncated or altered; names all of them, on every worker.
        WorkerError: another worker hangs or has gone.
    """
    damaged = []
    for name in sorted(checksums)[world.rank :: world.size]:
        path = directory / name
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != checksums[name]:
                    damaged.append(f"{path} is truncated or altered")
        except OSError as error:
            damaged.append(f"cannot read {path}: {error.strerror}")
    if problems := [problem for each in world.gather(damaged) for problem in each]:
        raise ValueError("; ".join(problems))
    reader = HuggingFaceStorageReader(str(directory))
    found = reader.read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in found.items()
        if isinstance(entry, TensorStorageMetadata) and wanted(name)
    }
    with _together(world):
        state_dict_loader.load(tensors, storage_reader=reader, process_group=world.control)
    return tensors


@contextmanager
def _together(world: World) -> Iterator[None]:
    """Raise on every worker what one of them met."""
    try:
        with explaining(world, "the other workers at a checkpoint"):
            yield
    except CheckpointException as failure:
        raise next(error for error, _ in failure.failures.values()) from None
