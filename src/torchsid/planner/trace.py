"""What a model is made of: pieces, heads, what they compute, keep and hand on. Learnt from shapes; no weight is allocated."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from torchsid.core.beliefs import to_log_belief
from torchsid.core.staged import StagedCascade
from torchsid.cut.build import staged_cascade
from torchsid.cut.cuts import candidates
from torchsid.cut.profile import profile, storage_id
from torchsid.errors import ConfigError, CutError, HeadError
from torchsid.planner.devices import Precision
from torchsid.planner.presets import ModelSpec

_SMALL, _LARGE = 2, 4  # batches that are traced; BatchNorm needs two samples
_MAX_HEAD_SHARE = 0.25  # of an even stage, as `staged_cascade` has it

Kept = dict[int, int]  # bytes by storage


@dataclass(frozen=True)
class Piece:
    """The trunk between two neighbouring points at which it can be cut, and the head that would read its end."""

    name: str
    """The submodule after which it ends; empty for the last."""
    parameters: int
    flops: int
    """Of a forward pass, a sample: two for each multiply-add."""
    crossing: int
    """Elements a sample that cross its end."""
    head: str
    head_parameters: int
    head_flops: int


@dataclass(frozen=True)
class Trace:
    """A model on paper."""

    pieces: tuple[Piece, ...]
    image: int
    """Elements of an input sample."""
    classes: int
    passed: "tuple[Passed, Passed]"
    """What each piece keeps for backward, of a small and of a larger batch."""

    @property
    def parameters(self) -> int:
        """Of the trunk."""
        return sum(piece.parameters for piece in self.pieces)

    @property
    def flops(self) -> int:
        """Of a forward pass of the trunk, a sample."""
        return sum(piece.flops for piece in self.pieces)

    def kept_bytes(self, start: int, end: int, batch: float, *, local: bool) -> float:
        """Return what a stage of the pieces start … end−1 keeps for backward, each storage once.

        The bytes are an affine function of the batch, which two traced batches determine: what belongs to the samples, and what
        does not (statistics of BatchNorm, weights that autocast has cast).

        Args:
            start: first piece.
            end: behind the last.
            batch: samples.
            local: a stage of SID with its head; otherwise a part of backpropagation.
        """
        small, large = (passed.kept_bytes(start, end, local=local) for passed in self.passed)
        return small + (large - small) / (_LARGE - _SMALL) * (batch - _SMALL)

    def fixed_bytes(self, start: int, end: int) -> float:
        """Return the part of backpropagation's kept bytes that does not grow with the batch."""
        return self.kept_bytes(start, end, 0, local=False)


def trace(spec: ModelSpec, *, stages: int | None = None, precision: Precision = "float32") -> Trace:
    """Run a model on fake tensors, cut at every point at which it can be, with a head there.

    Args:
        spec: which model.
        stages: how many there will be: the fewer, the more a head may cost. None: as many as can be.
        precision: with `"bfloat16"` the pass runs under autocast; weights stay float32.

    Raises:
        ConfigError: the model cannot be built or cut so.
    """
    with torch.device("meta"):
        cascade = cut_everywhere(spec, stages)
    # On the meta device alone, attention would keep its weights, and autocast would do nothing.
    with FakeTensorMode(allow_non_fake_inputs=True):
        cascade.to_empty(device="cpu")
        small, large = (_pass(cascade, batch, spec, precision) for batch in (_SMALL, _LARGE))
    assert cascade.plan is not None
    pieces = tuple(
        Piece(
            name=row.cut,
            parameters=row.parameters,
            flops=2 * row.operations,
            crossing=crossing // _SMALL,
            head=row.head,
            head_parameters=row.head_parameters,
            head_flops=2 * row.head_operations,
        )
        for row, crossing in zip(cascade.plan.stages, small.crossing, strict=True)
    )
    return Trace(pieces, 3 * spec.image_size**2, spec.classes, (small, large))


def cut_everywhere(spec: ModelSpec, stages: int | None = None) -> StagedCascade:
    """Return the model, cut at every point at which it can be, with the heads of a cascade of so many stages; see `trace`.

    Raises:
        ConfigError: the model cannot be built or cut so.
    """
    model = spec.build()
    example = torch.zeros(_SMALL, 3, spec.image_size, spec.image_size)
    try:
        points = candidates(profile(model, example))
        share = _MAX_HEAD_SHARE * len(points) / min(stages or len(points), len(points))
        cuts = [point.name for point in points[:-1]]
        return staged_cascade(model, spec.classes, cuts or 1, example, max_head_share=share)
    except (CutError, HeadError) as error:
        raise ConfigError([f"{spec.name}: {error}"], source="model") from None


@dataclass(frozen=True)
class Passed:
    """What forward passes of one batch showed, of each piece."""

    trunk: Sequence[Kept]
    heads: Sequence[Kept]
    """Of the head behind it."""
    spared: Sequence[int]
    """Bytes that it keeps less when nothing before it needs a gradient: the first weight, if autocast has cast it."""
    crossing: Sequence[int]
    """Elements."""

    def kept_bytes(self, start: int, end: int, *, local: bool) -> int:
        """Return the bytes of the pieces start … end−1, as a stage of SID (`local`) with the head, each storage once."""
        kept: Kept = {}
        for piece in self.trunk[start:end]:
            kept |= piece
        return sum((kept | self.heads[end - 1]).values()) - self.spared[start] if local else sum(kept.values())


def _pass(cascade: StagedCascade, batch: int, spec: ModelSpec, precision: Precision) -> Passed:
    """Run the cascade forward, as a whole and with a gradient stopped at every cut."""
    trunk, heads, crossing = _listen(cascade, batch, spec, precision, stop=False)
    alone, _, _ = _listen(cascade, batch, spec, precision, stop=True)
    spared = [sum(piece.values()) - sum(by_itself.values()) for piece, by_itself in zip(trunk, alone, strict=True)]
    return Passed(trunk, heads, spared, crossing)


def _listen(
    cascade: StagedCascade, batch: int, spec: ModelSpec, precision: Precision, *, stop: bool
) -> tuple[list[Kept], list[Kept], list[int]]:
    """Return what each piece keeps, what its head keeps, and the elements that cross its end; `stop` cuts the graph there."""
    x = torch.empty(batch, 3, spec.image_size, spec.image_size)
    log_belief = cascade.prior(x)
    own = {storage_id(tensor) for tensor in (*cascade.parameters(), *cascade.buffers())}
    trunk: list[Kept] = []
    heads: list[Kept] = []
    crossing: list[int] = []
    current: Kept = {}
    alive: list[Tensor] = []  # so that no storage's id is used again

    def pack(tensor: Tensor) -> Tensor:
        if (storage := storage_id(tensor)) not in own:
            current[storage] = tensor.untyped_storage().nbytes()
            alive.append(tensor.detach())
        return tensor

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        nonlocal current, log_belief
        trunk.append(current)
        current = {}
        logits = cascade.heads[stage](tensors[0], log_belief)
        log_belief = to_log_belief(logits.detach())
        heads.append(current)
        current = {}
        crossing.append(sum(tensor.numel() for tensor in tensors))
        return [tensor.detach() for tensor in tensors] if stop else tensors

    cast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    with cast, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        cascade.train().run(x, close)
    return trunk, heads, crossing
