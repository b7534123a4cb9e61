"""Checkpoints: a directory with `model.safetensors`, `optimizer.safetensors` and `state.json`; of many workers, a shard of each.

A checkpoint replaces the previous one as a whole or not at all, and none is read that is damaged or from another configuration.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import safetensors.torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.errors import CheckpointError, WorkerError
from torchsid.training.durable import being_written, current, os_errors, replacing_directory, write_bytes

if TYPE_CHECKING:
    from torchsid.distributed.world import World

_FORMAT = 1
_NOTHING: Mapping[str, Tensor] = MappingProxyType({})
_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_REMEDY = "restore the file from a copy, or start a new run in another directory"


def save(
    directory: Path,
    module: nn.Module,
    optimizer: Optimizer,
    state: Mapping[str, Any],
    *,
    config_sha256: str,
    world: "World | None" = None,
    memory: Mapping[str, Tensor] = _NOTHING,
) -> None:
    """Write a checkpoint; a crash at any moment leaves the previous one usable.

    Args:
        directory: replaced as a whole.
        module: its parameters and buffers.
        optimizer: over `module.parameters()`; its tensors are stored under `STATE:PARAMETER NAME`.
        state: what JSON can hold: position, sums of the epoch, the best epoch so far.
        config_sha256: of the run's configuration.
        world: the workers, which all call this, each with what it holds; the lead's `state` counts, and the checkpoint before this
            one is kept beside it. None in one process.
        memory: what the method remembers; names have a colon.

    Raises:
        RunError: the operating system refuses, for instance because the disk is full.
    """
    model, others = module.state_dict(), {**_optimizer_tensors(module, optimizer), **memory}
    if world is None:
        _write(directory, model, others, state, config_sha256)
        return
    from torchsid.distributed.checkpoint import write_shards

    fresh = being_written(directory)
    with ExitStack() as stack:
        world.on_lead(lambda: stack.enter_context(replacing_directory(directory, keep=previous(directory))))
        with os_errors(fresh):
            checksums = write_shards(fresh, {**model, **others}, world)
        world.on_lead(lambda: write_bytes(fresh / _STATE, _header(checksums, state, config_sha256)))
        world.on_lead(stack.close)


def previous(directory: Path) -> Path:
    """Return where the sharded checkpoint before the one in `directory` is kept."""
    return directory.with_name(f"{directory.name}-previous")


def consolidate(directory: Path, *, config_sha256: str) -> None:
    """Turn a sharded checkpoint into the one that a single process writes; one that is, stays.

    Raises:
        CheckpointError: it is damaged.
        RunError: the operating system refuses.
    """
    header = _read_header(current(directory))
    shutil.rmtree(previous(directory), ignore_errors=True)
    if _MODEL not in header["files"]:
        model, others = _split(_read_files(current(directory), header["files"]))
        _write(directory, model, others, header["state"], config_sha256)


def exists(directory: Path) -> bool:
    """Return whether there is a checkpoint to load."""
    return (current(directory) / _STATE).is_file()


def load(
    directory: Path,
    module: nn.Module,
    optimizer: Optimizer | None = None,
    *,
    config_sha256: str,
    world: "World | None" = None,
    memory: Mapping[str, Tensor] = _NOTHING,
) -> dict[str, Any]:
    """Read a checkpoint into the module and the optimiser and return its state.

    Everything is checked before anything is changed. However many workers wrote it, any number can read it; with a `world`, all
    workers call this and each takes what its module holds. The tensors of `memory` are filled in place.

    Raises:
        CheckpointError: a file is missing, truncated or altered, or the checkpoint is from another configuration.
    """
    directory = current(directory)
    header = _read_header(directory)
    if header["config_sha256"] != config_sha256:
        raise CheckpointError(
            f"{directory} was written under another configuration: continue with the run's own config.toml, "
            "or start a new run in another directory"
        )
    weights = module.state_dict()  # knows the versions of the modules; without them BatchNorm asks for a buffer of other workers
    files = {name: digest for name, digest in header["files"].items() if optimizer or name != _OPTIMIZER}
    read = _read_own(directory, files, {*weights, *memory}, world) if world else _read_files(directory, files)
    model, others = _split(read)
    weights.clear()
    weights |= model
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{directory} does not fit the network: {error}") from None
    if optimizer:
        for name, tensor in memory.items():
            tensor.copy_(others.pop(name))
        _restore_optimizer(module, optimizer, others)
    state: dict[str, Any] = header["state"]
    return state


def _write(
    directory: Path, model: Mapping[str, Tensor], others: Mapping[str, Tensor], state: Mapping[str, Any], config_sha256: str
) -> None:
    contents = {
        file: safetensors.torch.save({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()})
        for file, tensors in ((_MODEL, model), (_OPTIMIZER, others))
    }
    contents[_STATE] = _header({file: hashlib.sha256(each).hexdigest() for file, each in contents.items()}, state, config_sha256)
    with replacing_directory(directory) as fresh:
        for name, content in contents.items():
            write_bytes(fresh / name, content)


def _split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of the module, and those of the optimiser and the memory, whose names have a colon."""
    parts: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for name, tensor in tensors.items():
        parts[":" in name][name] = tensor
    return parts


def _optimizer_tensors(module: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    states = ((name, optimizer.state.get(parameter, {})) for name, parameter in module.named_parameters())
    return {f"{key}:{name}": value for name, state in states for key, value in state.items() if isinstance(value, Tensor)}


def _restore_optimizer(module: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    names = {parameter: name for name, parameter in module.named_parameters()}
    ordered = (parameter for group in optimizer.param_groups for parameter in group["params"])
    index_of = {names[parameter]: index for index, parameter in enumerate(ordered)}
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        key, _, parameter = name.partition(":")
        state.setdefault(index_of[parameter], {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _header(checksums: Mapping[str, str], state: Mapping[str, Any], config_sha256: str) -> bytes:
    header = {"format": _FORMAT, "config_sha256": config_sha256, "files": dict(checksums), "state": dict(state)}
    return json.dumps({"sha256": _sha256_of(header), **header}, indent=1).encode()


def _sha256_of(header: object) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _read_header(directory: Path) -> dict[str, Any]:
    path = directory / _STATE
    try:
        header: dict[str, Any] = json.loads(_read(path))
        whole = header.pop("sha256") == _sha256_of(header)
    except (ValueError, KeyError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        whole = False
    if not whole:
        raise CheckpointError(f"{path} is truncated or altered; {_REMEDY}")
    if header["format"] != _FORMAT:
        raise CheckpointError(f"{path} has format {header['format']}, this version reads {_FORMAT}: use the version that wrote it")
    return header


def _read_files(directory: Path, checksums: Mapping[str, str]) -> dict[str, Tensor]:
    contents = {name: _read(directory / name) for name in checksums}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != checksums[name]:
            raise CheckpointError(f"{directory / name} is truncated or altered: its SHA-256 is not the one in {_STATE}; {_REMEDY}")
    return {name: tensor for content in contents.values() for name, tensor in safetensors.torch.load(content).items()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; {_REMEDY}") from None


def _read_own(directory: Path, checksums: Mapping[str, str], own: Collection[str], world: "World") -> dict[str, Tensor]:
    """Return the tensors of these names, and what the optimiser has of them."""
    from torchsid.distributed.checkpoint import read_shards

    try:
        return read_shards(directory, lambda name: name in own or name.rpartition(":")[2] in own, checksums, world)
    except WorkerError:
        raise
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{error}; {_REMEDY}") from None
