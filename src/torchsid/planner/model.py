"""What a model is made of: pieces and heads, what they compute, keep and hand on, learnt from shapes; and how long each takes."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import SGD, AdamW

from torchsid import models
from torchsid.bench.recorder import BACKWARD, FORWARD, HEAD, UPDATE, sid_seconds
from torchsid.bench.steps import median_seconds
from torchsid.bench.synthetic import Synthetic
from torchsid.bench.workload import blocks_setting, task_of
from torchsid.core.beliefs import to_log_belief
from torchsid.core.lazy_logits import travels
from torchsid.core.side_effects import threads
from torchsid.core.staged import StagedCascade, StagePlan
from torchsid.cut.assemble import staged_cascade
from torchsid.cut.cuts import candidates
from torchsid.cut.profile import profile, storage_id
from torchsid.errors import ConfigError, unknown_name
from torchsid.heads import HEADS
from torchsid.models.classifiers.gpt import GPT
from torchsid.models.classifiers.mlp import MLP
from torchsid.models.classifiers.vit_tiny import ViTTiny
from torchsid.planner.devices import MEASURED, PRECISIONS, Device, Mesh, Precision

# Beside every classifier, large ones that only a plan can afford:
# arXiv 2010.11929 (base, large, huge), 2012.12877 (small), 2106.04560 (giant: its G/14, 1.84 billion parameters), and the sizes of
# GPT-2 and of GPT-3's 6.7B (2005.14165), with a readout of its own
PRESETS: dict[str, dict[str, Any]] = {
    "vit-small": {"width": 384, "depth": 12, "patch_size": 16},
    "vit-base": {"width": 768, "depth": 12, "patch_size": 16},
    "vit-large": {"width": 1024, "depth": 24, "patch_size": 16},
    "vit-huge": {"width": 1280, "depth": 32, "patch_size": 14, "heads": 16},
    "vit-giant": {"width": 1664, "depth": 48, "patch_size": 14, "heads": 16, "mlp_ratio": 8192 / 1664},
    "gpt2": {"width": 768, "blocks": 12, "heads": 12},
    "gpt2-medium": {"width": 1024, "blocks": 24, "heads": 16},
    "gpt2-large": {"width": 1280, "blocks": 36, "heads": 20},
    "gpt2-xl": {"width": 1600, "blocks": 48, "heads": 25},
    "gpt-7b": {"width": 4096, "blocks": 32, "heads": 32},
    "mlp-64": {"width": 1024, "depth": 64},
    "mlp-256": {"width": 1024, "depth": 256},
}
_FAMILIES = {"vit": ViTTiny, "gpt": GPT, "mlp": MLP}  # what the presets are made of
_SMALL, _LARGE = 2, 4  # batches that are traced; BatchNorm needs two samples
_MAX_HEAD_SHARE = 0.25  # of an even stage, as `staged_cascade` has it
_ANY_HEAD_SHARE = 1e6  # of a head that is asked for by name


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model by name, and what differs from the name's own sizes."""

    name: str
    classes: int = 1000
    image_size: int = 224
    context: int = 1024
    vocabulary: int = 50257
    width: int | None = None
    depth: int | None = None
    head: str = "auto"

    def own(self, size: Literal["width", "depth"]) -> int | None:
        """Return the width or the number of blocks that it is built with; None where it cannot be set."""
        name = (size if size == "width" else blocks_setting(self._network)) or ""
        default = signature(self._network).parameters.get(name)
        return getattr(self, size) or PRESETS.get(self.name, {}).get(name, default and default.default)

    @property
    def samples(self) -> Synthetic:
        """What it reads and is to answer."""
        sizes = {"image_size": self.image_size, "context": self.context, "vocabulary": self.vocabulary}
        return Synthetic(task=task_of(self._network), classes=self.classes, **sizes)

    @property
    def _network(self) -> Any:
        family = next((made for prefix, made in _FAMILIES.items() if self.name.startswith(prefix)), None)
        return family if family and self.name in PRESETS else models.CLASSIFIERS.load(self.name)

    def problems(self) -> Iterator[str]:
        """Yield what can be found to be wrong without building."""
        if self.name not in model_names() and ":" not in self.name:
            yield unknown_name("model", self.name, model_names())
        elif self.depth and blocks_setting(self._network) is None:
            yield f"depth {self.depth}: {self.name} has a fixed one; it can be set for a vit, a gpt or an mlp"
        if self.head not in (known := ("auto", *HEADS.names())):
            yield unknown_name("head", self.head, known)
        for what, count in (("classes", self.classes), ("vocabulary", self.vocabulary)):
            if count < 2:
                yield f"{what} {count}: a belief needs 2 or more"

    def build(self) -> nn.Module:
        """Return the classifier, in the mode and on the device of the moment; a ValueError where it cannot be of these sizes."""
        own = PRESETS.get(self.name, {})
        settings = own | ({"width": self.width} if self.width is not None else {})
        if self.depth is not None and (name := blocks_setting(self._network)):
            settings |= {name: self.depth}
        if settings.get("width") != own.get("width"):
            settings.pop("heads", None)  # then one for every 64 of the width
        samples = self.samples
        model: nn.Module = self._network(samples.inputs(2), samples.outcomes, **settings)
        return model


def model_names() -> tuple[str, ...]:
    """Return the names of all models that can be planned."""
    return tuple(dict.fromkeys((*models.synthetic_names(), *PRESETS)))


class Kept(NamedTuple):
    """What a piece of the trunk keeps for backward in one batch, and the head behind it: bytes by storage."""

    trunk: dict[int, int]
    head: dict[int, int]
    spared: int  # bytes that it keeps less when nothing before it needs a gradient: of the first weight, cast by autocast


@dataclass(frozen=True)
class Trace:
    """A model on paper."""

    pieces: tuple[StagePlan, ...]  # the trunk between neighbouring points of a cut, and the head that would read the end of each
    samples: Synthetic  # what it reads and is to answer
    kept: tuple[Sequence[Kept], Sequence[Kept]]  # by the pieces, of a small and of a larger batch
    readout: int = 0  # numbers of the last stage's readout, where all heads share it

    @property
    def parameters(self) -> int:
        """Of the trunk."""
        return sum(piece.parameters for piece in self.pieces)

    @property
    def crossing(self) -> list[int]:
        """Elements a sample that cross the end of each piece; nothing is behind the last."""
        return [*(prod(piece.features) for piece in self.pieces[:-1]), 0]

    def belief_bytes(self, samples: float, stages: int, *, taught: bool) -> float:
        """Return what a message tells of the beliefs after so many stages: all of them and the prior, in float32.

        Where heads share a readout, and a step makes no logits, they are the likeliest outcomes, and if the next stage is
        `taught` by the last belief, the hidden state that it follows from.
        """
        positions, outcomes = samples * self.samples.positions, self.samples.outcomes
        if self.readout and travels(int(positions), outcomes, self.readout // outcomes):
            return 4 * positions * (stages + self.readout / outcomes * taught)
        return 4 * positions * outcomes * (stages + 1)

    def kept_bytes(self, start: int, end: int, batch: float, *, local: bool) -> float:
        """Return what the pieces start … end−1 keep for backward, each storage once; if `local`, as a stage of SID with its head.

        The bytes are an affine function of the batch, which two traced batches determine: what belongs to the samples, and what
        does not (statistics of BatchNorm, weights that autocast has cast).
        """

        def once(pieces: Sequence[Kept]) -> int:
            parts = [*(piece.trunk for piece in pieces), *([pieces[-1].head] if local else [])]
            storages = {storage: size for part in parts for storage, size in part.items()}
            return sum(storages.values()) - (pieces[0].spared if local else 0)

        small, large = (once(kept[start:end]) for kept in self.kept)
        return small + (large - small) / (_LARGE - _SMALL) * (batch - _SMALL)


@cache
def trace(spec: ModelSpec, *, stages: int | None = None, precision: Precision = "float32") -> Trace:
    """Run a model on fake tensors, cut at every point at which it can be, with a head there; a ConfigError where that cannot be.

    The fewer stages there will be, the more a head may cost. With `"bfloat16"` the pass runs under autocast; weights stay float32.
    """
    with torch.device("meta"):
        cascade = cut_everywhere(spec, stages)
    assert cascade.plan is not None
    # On the meta device alone, attention would keep its weights, and autocast would do nothing.
    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        cascade.to_empty(device="cpu").train()
        small, large = (_kept(cascade, spec.samples.inputs(batch)) for batch in (_SMALL, _LARGE))
    readout = sum(each.numel() for each in cascade.readout.newest) if cascade.readout and cascade.shares_readout else 0
    return Trace(cascade.plan.stages, spec.samples, (small, large), readout)


def cut_everywhere(spec: ModelSpec, stages: int | None = None) -> StagedCascade:
    """Return the model, cut at every point at which it can be, with the heads of a cascade of so many stages; see `trace`."""
    try:
        model, samples = spec.build(), spec.samples
        example = samples.inputs(_SMALL, str(torch.get_default_device()))
        points = candidates(profile(model, example))
        share = _MAX_HEAD_SHARE * len(points) / min(stages or len(points), len(points)) if spec.head == "auto" else _ANY_HEAD_SHARE
        cuts = [point.name for point in points[:-1]]
        mask = None if example.is_meta else getattr(model, "mask_of", None)  # without numbers there is none to read
        return staged_cascade(model, samples.outcomes, cuts or 1, example, head=spec.head, max_head_share=share, mask=mask)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError([f"{spec.name}: {error}"], source="model") from None


def _kept(cascade: StagedCascade, x: Tensor) -> list[Kept]:
    """Run the cascade forward, as a whole and with a gradient stopped at every cut."""
    whole, alone = (_storages(cascade, x, stop=stop) for stop in (False, True))
    spared = [sum(piece.values()) - sum(by_itself.values()) for piece, by_itself in zip(whole[::2], alone[::2], strict=True)]
    return list(map(Kept, whole[::2], whole[1::2], spared))


def _storages(cascade: StagedCascade, x: Tensor, *, stop: bool) -> list[dict[int, int]]:
    """Return what a piece keeps, its head, the next piece …; `stop` cuts the graph behind every piece."""
    log_belief = torch.empty(0)
    own = {storage_id(tensor) for tensor in (*cascade.parameters(), *cascade.buffers())}
    parts: list[dict[int, int]] = [{}]
    alive: list[Tensor] = []  # so that no storage's id is used again

    def pack(tensor: Tensor) -> Tensor:
        if (storage := storage_id(tensor)) not in own:
            parts[-1][storage] = tensor.untyped_storage().nbytes()
            alive.append(tensor.detach())
        return tensor

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        nonlocal log_belief
        parts.append({})
        log_belief = log_belief if stage else cascade.prior(tensors[0])
        log_belief = to_log_belief(cascade.heads[stage](tensors[0], log_belief).detach())
        parts.append({})
        return [tensor.detach() for tensor in tensors] if stop else tensors

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        cascade.run(x, close)
    return parts[:-1]


_SIDE = 1024  # of the matrices


@dataclass(frozen=True)
class Speed:
    """Seconds a sample of every piece, and of the head at its end, forward and backward; and how fast parameters are updated."""

    forward: Sequence[float]
    backward: Sequence[float]  # gradients of inputs and weights, half and half
    heads: Sequence[float]
    bandwidth: float  # bytes a second of an update

    @property
    def trunk(self) -> list[float]:
        """Forward and backward of every piece."""
        return [forward + backward for forward, backward in zip(self.forward, self.backward, strict=True)]


def on_paper(trace: Trace, mesh: Mesh, utilisation: float) -> Speed:
    """Return `FLOP / (peak · utilisation)`, with twice as many FLOP backward as forward: every product has two gradients."""
    rate = mesh.device.flops[mesh.precision] * utilisation / 2  # multiply-adds a second
    forward = [piece.operations / rate for piece in trace.pieces]
    heads = [3 * piece.head_operations / rate for piece in trace.pieces]
    return Speed(forward, [2 * seconds for seconds in forward], heads, mesh.device.bandwidth)


def measure(spec: ModelSpec, mesh: Mesh) -> Speed:
    """Train a model, cut everywhere, on this machine's processor, of which each device has its share; medians of a few steps."""
    samples = mesh.batch // mesh.data
    with torch.random.fork_rng(devices=[]), threads(max(torch.get_num_threads() // mesh.devices, 1)):
        cascade = cut_everywhere(spec, mesh.stages).train()
        x, target = spec.samples.batch(samples)
        momentum = 0.9 if mesh.optimizer == "momentum" else 0.0
        optimizer = AdamW if mesh.optimizer == "adamw" else lambda parameters: SGD(parameters, momentum=momentum)
        with torch.autocast("cpu", torch.bfloat16, enabled=mesh.precision == "bfloat16"):
            pieces = sid_seconds(cascade, x, target, optimizer(cascade.parameters()))
    forward, backward, heads = ([piece[what] / samples for piece in pieces] for what in (FORWARD, BACKWARD, HEAD))
    updated = mesh.update_bytes(sum(map(torch.numel, cascade.parameters())))
    return Speed(forward, backward, heads, updated / sum(piece[UPDATE] for piece in pieces))


@cache  # so that all points of a sweep have the same device
def this_machine(devices: int, precision: Precision) -> Device:
    """Return one of so many equal parts of this machine's processor: FLOP/s of matrix products, memory, bandwidth of copies."""
    with threads(max(torch.get_num_threads() // devices, 1)):
        a = torch.rand(_SIDE, _SIDE, dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32)
        flops = 2 * _SIDE**3 / median_seconds(lambda: a @ a)
        block = torch.zeros(2**24)
        bandwidth = 2 * 4 * 2**24 / median_seconds(lambda: block.clone())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / devices
    return Device(MEASURED.name, dict.fromkeys(PRECISIONS, flops), memory, bandwidth)
