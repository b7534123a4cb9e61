"""Checkpoints: a directory with `model.safetensors`, `optimizer.safetensors` and `state.json`; of many workers, a shard of each.

A checkpoint replaces the previous one as a whole or not at all, and none is read that is damaged or from another configuration.
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.optim import Optimizer

from torchsid.compress.grid import Quantised
from torchsid.compress.packing import packed, unpacked
from torchsid.core.learner import Learner, fill
from torchsid.durable import being_written, current, os_errors, previous, replacing_directory, sha256_of_json, write_bytes
from torchsid.errors import CheckpointError, WorkerError, some_of

if TYPE_CHECKING:
    from torchsid.distributed.world import World

_FORMAT = 1
_BITS = "bits"  # in the state of packed weights
_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_REMEDY = "restore the file from a copy, or start a new run in another directory"


def save(
    directory: Path,
    learner: Learner,
    optimizer: Optimizer,
    state: Mapping[str, Any],
    *,
    config_sha256: str,
    held: Mapping[str, Tensor] = {},
    world: "World | None" = None,
) -> None:
    """Write a checkpoint, which replaces the one before; a crash or a full disk at any moment leaves that one usable.

    It holds the network's parameters and buffers, what the method remembers, the optimiser's tensors under `STATE:PARAMETER NAME`,
    what else is `held` under names with a colon, and a state of what JSON can hold. The workers of a `world` all call this, each
    with what it holds; the lead's state counts, and the checkpoint before this one is kept beside it.
    """
    states = ((name, optimizer.state.get(parameter, {})) for name, parameter in learner.module.named_parameters())
    moments = {f"{key}:{name}": value for name, state in states for key, value in state.items() if isinstance(value, Tensor)}
    tensors = {**learner.module.state_dict(), **moments, **learner.state(), **held}
    header = {"format": _FORMAT, "config_sha256": config_sha256, "state": dict(state)}
    if world is None:
        _write(directory, tensors, header)
        return
    from torchsid.distributed.checkpoint import write_shards

    fresh = being_written(directory)
    with ExitStack() as stack:
        world.on_lead(lambda: stack.enter_context(replacing_directory(directory, keep=True)))
        with os_errors(fresh):
            checksums = write_shards(fresh, tensors, world)
        world.on_lead(lambda: write_bytes(fresh / _STATE, _signed(header, checksums)))
        world.on_lead(stack.close)


def save_weights(directory: Path, learner: Learner, *, config_sha256: str) -> None:
    """Write a checkpoint from which no training goes on: weights alone."""
    _write(directory, learner.module.state_dict(), {"format": _FORMAT, "config_sha256": config_sha256, "state": {}})


def save_packed(directory: Path, learner: Learner, quantised: Mapping[str, Quantised], bits: int, *, config_sha256: str) -> None:
    """Do as `save_weights`, with the weights that were quantised as codes of so many bits."""
    header = {"format": _FORMAT, "config_sha256": config_sha256, "state": {_BITS: bits}}
    _write(directory, packed(learner.module.state_dict(), quantised), header)


def consolidate(directory: Path) -> None:
    """Turn a sharded checkpoint into the one that a single process writes; one that is, stays."""
    header = _read_header(current(directory))
    if _MODEL not in header["files"]:
        _write(directory, _read_files(current(directory), header["files"]), header)
    shutil.rmtree(previous(directory), ignore_errors=True)


def exists(directory: Path) -> bool:
    """Return whether there is a checkpoint to load."""
    return (current(directory) / _STATE).is_file()


def state_of(directory: Path) -> dict[str, Any]:
    """Return the state that was saved with a checkpoint, without reading its tensors; a CheckpointError where that is damaged."""
    state: dict[str, Any] = _read_header(current(directory))["state"]
    return state


def load(
    directory: Path,
    learner: Learner,
    optimizer: Optimizer | None = None,
    *,
    config_sha256: str,
    held: Mapping[str, Tensor] = {},
    world: "World | None" = None,
) -> dict[str, Any]:
    """Read a checkpoint into the network, and with an optimiser into it, the method's memory and what else is `held`.

    Returns its state.

    Everything is checked before anything is changed: what is damaged, or from another configuration, is a CheckpointError. However
    many workers wrote it, any number can read it; with a `world`, all workers call this and each takes what its network holds.
    """
    directory = current(directory)
    header = _read_header(directory)
    if header["config_sha256"] != config_sha256:
        advice = "continue with the run's own config.toml, or start a new run in another directory"
        raise CheckpointError(f"{directory} was written under another configuration: {advice}")
    # With versions, without which BatchNorm asks for a buffer that another worker has.
    weights: dict[str, Any] = learner.module.state_dict()
    files = {name: digest for name, digest in header["files"].items() if optimizer or name != _OPTIMIZER}
    memory = {**learner.state(), **held} if optimizer else {}
    read = _read_shards(directory, files, {*weights, *memory}, world) if world else _read_files(directory, files)
    if isinstance(bits := header["state"].get(_BITS), int):
        read = unpacked(read, bits, weights)
    others = {name: read.pop(name) for name in list(read) if ":" in name}
    parameters = dict(learner.module.named_parameters())
    problems = [*misfits(read, weights), *(_misfits_of_optimizer(others, memory, parameters) if optimizer else ())]
    if problems:
        raise CheckpointError(f"{directory} does not fit the network: {some_of(problems)}; {_REMEDY}")
    weights.clear()
    weights |= read
    learner.module.load_state_dict(weights)
    if optimizer:
        for name, tensor in memory.items():
            fill(tensor, others.pop(name))
        names = {parameter: name for name, parameter in parameters.items()}
        ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        index_of = {names[parameter]: index for index, parameter in enumerate(ordered)}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in others.items():
            key, _, parameter_name = name.partition(":")
            index = index_of[parameter_name]
            moments.setdefault(index, {})[key] = _laid_out(tensor, ordered[index])
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return dict(header["state"])


def misfits(found: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> Iterator[str]:
    """Yield which tensors are missing, unknown, or of another shape or type than those wanted."""
    yield from (f"{name} is missing" for name in wanted if name not in found)
    for name, tensor in found.items():
        like = wanted.get(name)
        if like is None:
            yield f"{name} is unknown"
        elif (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            shapes = f"{list(tensor.shape)} {tensor.dtype}, not {list(like.shape)} {like.dtype}"
            yield f"{name} is {shapes.replace('torch.', '')}"


def _misfits_of_optimizer(
    found: Mapping[str, Tensor], memory: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
) -> Iterator[str]:
    """Yield what does not fit in the method's memory and the optimiser's tensors, each a number or like its parameter."""
    sized = {name: tensor if tensor.numel() else found.get(name, tensor) for name, tensor in memory.items()}  # an empty one is free
    yield from misfits({name: found[name] for name in memory if name in found}, sized)
    kinds: dict[str, set[str]] = {}
    for name, tensor in found.items():
        kind, _, parameter = name.partition(":")
        if name in memory:
            continue
        if parameter not in parameters:
            yield f"{name} is unknown"
        elif (tensor.dim() and tensor.shape != parameters[parameter].shape) or not tensor.is_floating_point():
            yield f"{name} is {list(tensor.shape)}, unlike its parameter"
        kinds.setdefault(parameter, set()).add(kind)
    if len({frozenset(each) for each in kinds.values()}) > 1:
        yield "the optimiser has more of some parameters than of others"


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a tensor of the optimiser in the memory format of its parameter: fused kernels run over both as they lie in memory."""
    return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _write(directory: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    parts: dict[str, dict[str, Tensor]] = {_MODEL: {}, _OPTIMIZER: {}}
    for name, tensor in tensors.items():  # names of what is not the network's have a colon
        parts[_OPTIMIZER if ":" in name else _MODEL][name] = tensor.detach().contiguous().clone()
    contents = {file: safetensors.torch.save(part) for file, part in parts.items()}
    contents[_STATE] = _signed(header, {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()})
    with replacing_directory(directory) as fresh:
        for name, content in contents.items():
            write_bytes(fresh / name, content)


def _signed(header: Mapping[str, Any], checksums: Mapping[str, str]) -> bytes:
    whole = {**header, "files": dict(checksums)}
    return json.dumps({"sha256": sha256_of_json(whole), **whole}, indent=1).encode()


def _read_header(directory: Path) -> dict[str, Any]:
    path, content = directory / _STATE, _read(directory / _STATE)
    try:
        header: dict[str, Any] = json.loads(content)
        whole = header.pop("sha256") == sha256_of_json(header)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise CheckpointError(f"{path} is truncated or altered; {_REMEDY}")
    match header:
        case {"format": int(version)} if version != _FORMAT:
            raise CheckpointError(f"{path} has format {version}, this version reads {_FORMAT}: use the version that wrote it")
        case {"format": int(), "config_sha256": str(), "state": dict(), "files": dict(files)} if _are_checksums(files):
            return header
    raise CheckpointError(f"{path} does not say what a checkpoint says; {_REMEDY}")


def _are_checksums(files: Mapping[Any, Any]) -> bool:
    """Return whether these are names and checksums: of the two files that one process writes, or of shards."""
    plain = all(Path(name).name == name and name.endswith(".safetensors") and isinstance(files[name], str) for name in files)
    return bool(files) and plain and ({_MODEL, _OPTIMIZER} == set(files) or not {_MODEL, _OPTIMIZER} & set(files))


def _read_files(directory: Path, checksums: Mapping[str, str]) -> dict[str, Tensor]:
    contents = {name: _read(directory / name) for name in checksums}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != checksums[name]:
            raise CheckpointError(f"{directory / name} is truncated or altered: its SHA-256 is not the one in {_STATE}; {_REMEDY}")
    tensors: dict[str, Tensor] = {}
    for name, content in contents.items():
        try:
            tensors |= safetensors.torch.load(content)
        except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise CheckpointError(f"{directory / name} holds no tensors: {error}; {_REMEDY}") from None
    return tensors


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise OSError(errno.EINVAL, "no regular file")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; {_REMEDY}") from None


def _read_shards(directory: Path, checksums: Mapping[str, str], own: Collection[str], world: "World") -> dict[str, Tensor]:
    """Return the tensors of these names, and what the optimiser has of them."""
    from torchsid.distributed.checkpoint import read_shards

    try:
        return read_shards(directory, lambda name: name in own or name.rpartition(":")[2] in own, checksums, world)
    except WorkerError:
        raise
    except (ValueError, OSError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{error}; {_REMEDY}") from None
