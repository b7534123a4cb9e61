"""Checkpoints: a directory with `model.safetensors`, `optimizer.safetensors` and `state.json`.

A checkpoint replaces the previous one as a whole or not at all, and none is read that is damaged or from another configuration.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.errors import CheckpointError
from torchsid.training.durable import current, replacing_directory, write_bytes

_FORMAT = 1
_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def save(directory: Path, module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any], *, config_sha256: str) -> None:
    """Write a checkpoint; a crash at any moment leaves the previous one usable.

    Args:
        directory: replaced as a whole.
        module: its parameters and buffers.
        optimizer: over `module.parameters()`; its tensors are stored under `STATE:PARAMETER NAME`.
        state: what JSON can hold: position, sums of the epoch, the best epoch so far.
        config_sha256: of the run's configuration.

    Raises:
        RunError: the operating system refuses, for instance because the disk is full.
    """
    contents = {_MODEL: _serialise(module.state_dict()), _OPTIMIZER: _serialise(_optimizer_tensors(module, optimizer))}
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    header = {"format": _FORMAT, "config_sha256": config_sha256, "files": checksums, "state": dict(state)}
    contents[_STATE] = json.dumps({"sha256": _sha256_of(header), **header}, indent=1).encode()
    with replacing_directory(directory) as fresh:
        for name, content in contents.items():
            write_bytes(fresh / name, content)


def exists(directory: Path) -> bool:
    """Return whether there is a checkpoint to load."""
    return (current(directory) / _STATE).is_file()


def load(directory: Path, module: nn.Module, optimizer: Optimizer | None = None, *, config_sha256: str) -> dict[str, Any]:
    """Read a checkpoint into the module and the optimiser and return its state.

    Everything is checked before anything is changed.

    Raises:
        CheckpointError: a file is missing, truncated or altered, or the checkpoint is from another configuration.
    """
    directory = current(directory)
    header = _read_header(directory / _STATE)
    if header["config_sha256"] != config_sha256:
        raise CheckpointError(
            f"{directory} was written under another configuration: continue with the run's own config.toml, "
            "or start a new run in another directory"
        )
    tensors = _read_tensors(directory / _MODEL, header["files"])
    optimizer_tensors = _read_tensors(directory / _OPTIMIZER, header["files"]) if optimizer else {}
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{directory / _MODEL} does not fit the network: {error}") from None
    if optimizer:
        _restore_optimizer(module, optimizer, optimizer_tensors)
    state: dict[str, Any] = header["state"]
    return state


def _serialise(tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()})


def _optimizer_tensors(module: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    states = ((name, optimizer.state.get(parameter, {})) for name, parameter in module.named_parameters())
    return {f"{key}:{name}": value for name, state in states for key, value in state.items() if isinstance(value, Tensor)}


def _restore_optimizer(module: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    position = {parameter: index for index, parameter in enumerate(ordered)}
    index_of = {name: position[parameter] for name, parameter in module.named_parameters()}
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        key, _, parameter = name.partition(":")
        state.setdefault(index_of[parameter], {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _sha256_of(header: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if header.pop("sha256") != _sha256_of(header):
            raise KeyError("sha256")
        if header["format"] != _FORMAT:
            raise CheckpointError(
                f"{path} has format {header['format']}, this version reads {_FORMAT}: use the version that wrote it"
            )
        return header
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; {_REMEDY}") from None
    except (ValueError, KeyError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is truncated or altered; {_REMEDY}") from None


def _read_tensors(path: Path, checksums: Mapping[str, str]) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; {_REMEDY}") from None
    if hashlib.sha256(content).hexdigest() != checksums.get(path.name):
        raise CheckpointError(f"{path} is truncated or altered: its SHA-256 is not the one in {_STATE}; {_REMEDY}")
    return safetensors.torch.load(content)


_REMEDY = "restore the file from a copy, or start a new run in another directory"
