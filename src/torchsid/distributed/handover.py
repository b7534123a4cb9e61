"""What one worker hands to the next: the values that cross the cut, the beliefs and losses so far, and the random state.

The random state travels along because in one process the stages draw (dropout) from one generator, one after the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from torchsid.core.calling import Inputs, batch_size
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import StagedCascade
from torchsid.cut.graph import GraphSegments
from torchsid.distributed.channel import Message, size_of
from torchsid.errors import CutError

Wire = Literal["float32", "bfloat16"]
_SLACK = 1024  # bytes by which the numbers in a header may grow


@dataclass(frozen=True)
class Handover:
    """What a worker begins with, and what it hands on.

    Attributes:
        values: what the next stage reads.
        log_beliefs: `p_0 … p_i`, `[i+1, B, C]`.
        stage_losses: of the stages so far, `[i]`; None outside training.
        request: travels with a batch from the first worker to the last.
    """

    values: tuple[Any, ...]
    log_beliefs: Tensor
    stage_losses: Tensor | None = None
    request: int = 0

    def followed_by(self, values: tuple[Any, ...], log_beliefs: Tensor, stage_losses: Tensor | None) -> "Handover":
        """Return what is handed on after more stages, whose beliefs are `[n, B, C]` and whose losses `[n]`."""
        if self.stage_losses is not None and stage_losses is not None:
            stage_losses = torch.cat([self.stage_losses, stage_losses])
        return Handover(values, torch.cat([self.log_beliefs, log_beliefs]), stage_losses, self.request)


def encode(handover: Handover, wire: Wire, device: torch.device) -> tuple[list[Tensor], Mapping[str, Any]]:
    """Return a message's tensors and facts. Over a bfloat16 wire float32 features are rounded; beliefs and losses are not."""
    tensors, values = [], []
    for value in handover.values:
        if isinstance(value, Tensor):
            values.append({"dtype": str(value.dtype).removeprefix("torch.")})
            rounds = wire == "bfloat16" and value.dtype == torch.float32
            tensors.append(value.bfloat16() if rounds else value)
        else:
            values.append({"value": value})
    trains = handover.stage_losses is not None
    rest = [handover.stage_losses, *_random_state(device)] if handover.stage_losses is not None else []
    return [*tensors, handover.log_beliefs, *rest], {"values": values, "trains": trains, "request": handover.request}


def decode(message: Message, device: torch.device) -> Handover:
    """Return what the worker before handed on, and take over its random state; tensors lie in the message's buffer."""
    tensors = iter(message.tensors)
    values = tuple(
        next(tensors).to(getattr(torch, entry["dtype"])) if "dtype" in entry else entry["value"]
        for entry in message.facts["values"]
    )
    log_beliefs = next(tensors)
    if not message.facts["trains"]:
        return Handover(values, log_beliefs)
    stage_losses = next(tensors)
    _set_random_state(list(tensors), device)
    return Handover(values, log_beliefs, stage_losses, message.facts["request"])


def crossing(cascade: StagedCascade, ends: Sequence[int], example: Inputs) -> list[tuple[object, ...]]:
    """Return what is known of the values that cross the cut before each of the stages `ends` (from 0), whatever the batch.

    Raises:
        CutError: a value is neither a tensor nor a plain number, text or None.
    """
    few, more = (_crossing(cascade, ends, x) for x in (example, one_more(example)))
    problems = [
        f"a {type(value).__name__} crosses the cut after stage {end}, which cannot be sent to another worker: cut elsewhere"
        for end, crossed in zip(ends, few, strict=True)
        for value in crossed
        if not isinstance(value, Tensor | int | float | str | None)
    ]
    if problems:
        raise CutError("; ".join(problems))
    batch = batch_size(example)
    return [tuple(stretchable(*both, batch) for both in zip(*crossed, strict=True)) for crossed in zip(few, more, strict=True)]


def _crossing(cascade: StagedCascade, ends: Sequence[int], x: Inputs) -> list[tuple[Any, ...]]:
    segments, found, start = cascade.segments, [], 0
    assert isinstance(segments, GraphSegments)
    with without_side_effects(cascade), torch.no_grad():
        values = segments.bind(x)
        for end in ends:
            piece = segments.piece(start, end)
            piece.run(cascade.model, values, lambda stage, tensors: tensors)
            values, start = piece.handed_on, end
            found.append(values)
    return found


@dataclass(frozen=True)
class _Shape:
    """Of a tensor that crosses a cut: each size for a batch of 0, and what every sample adds to it."""

    sizes: tuple[tuple[int, int], ...]
    dtype: torch.dtype


def stretchable(few: object, more: object, batch: int) -> object:
    """Return what is known of a value, given for `batch` samples and for one more: a tensor's shape, anything else itself."""
    if not isinstance(few, Tensor) or not isinstance(more, Tensor):
        return few
    return _Shape(tuple((a - (b - a) * batch, b - a) for a, b in zip(few.shape, more.shape, strict=True)), few.dtype)


def one_more(x: Inputs) -> Inputs:
    """Return the inputs with the first sample once more."""
    if isinstance(x, Tensor):
        return torch.cat([x, x[:1]])
    if isinstance(x, tuple):
        return tuple(torch.cat([value, value[:1]]) if isinstance(value, Tensor) else value for value in x)
    return {name: torch.cat([value, value[:1]]) if isinstance(value, Tensor) else value for name, value in x.items()}


def largest(values: Sequence[object], samples: int, depth: int, num_classes: int, *, wire: Wire) -> int:
    """Return the bytes of the message behind stage `depth` (from 1) for so many samples."""
    meta = torch.device("meta")
    stretched = tuple(
        torch.empty([fixed + growth * samples for fixed, growth in value.sizes], dtype=value.dtype, device=meta)
        if isinstance(value, _Shape)
        else value
        for value in values
    )
    # In double precision, which they have in a network of double precision.
    beliefs = torch.empty(depth + 1, samples, num_classes, device=meta, dtype=torch.float64)
    losses = torch.empty(depth, device=meta, dtype=torch.float64)
    here = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return size_of(*encode(Handover(stretched, beliefs, losses), wire, here)) + _SLACK


def rows_of(x: Inputs, rows: slice) -> Inputs:
    """Return some samples of the inputs."""
    if isinstance(x, Tensor):
        return x[rows]
    if isinstance(x, tuple):
        return tuple(value[rows] if isinstance(value, Tensor) else value for value in x)
    return {name: value[rows] if isinstance(value, Tensor) else value for name, value in x.items()}


def _random_state(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random_state(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0].cpu().clone())
    for state in states[1:]:
        torch.cuda.set_rng_state(state.cpu().clone(), device)
