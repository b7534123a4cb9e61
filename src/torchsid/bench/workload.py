"""What is compared: a network and a batch, the same for every contender; and ways to train it, by name, before they are built."""

import tomllib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from inspect import signature
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from torchsid import models
from torchsid.bench.synthetic import Several, Synthetic
from torchsid.core import schedules
from torchsid.core.cascade import Cascade
from torchsid.core.shared import shared_cascade
from torchsid.cut.assemble import By, staged_cascade
from torchsid.models.classifiers.vit_tiny import ViTTiny
from torchsid.settings import Count, CountOrZero, Positive

SHARED = "shared"  # the paper's network: an extractor, and stages that all read its features
VIT_BLOCKS = "vit-blocks"  # a narrow vision transformer with as many equal blocks as asked for, width 64 by default

Option = Literal["float32", "bfloat16", "channels-last", "compiled", "captured"]
OPTIONS: Final[tuple[str, ...]] = get_args(Option)  # how a step is computed; a variant joins some of them by `+`
_FEATURES = 128  # of the extractor of a shared cascade

BACKPROP: Final = "backprop"
CHECKPOINTING: Final = "checkpointing"
ACCUMULATION: Final = "accumulation"
DEEP_SUPERVISION: Final = "deep supervision"
SID: Final = "sid"
REFERENCE: Final = "reference"
PLAIN: Final = "plain"
TWO_PHASE: Final = "two_phase"

BASES = (REFERENCE, BACKPROP, CHECKPOINTING, PLAIN)  # whom the others are compared with, where they take part
_MICRO_BATCHES = 4  # of gradient accumulation
_DEEPEST_SUPERVISION = 4


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One network and one batch; ratios are taken within it."""

    model: str  # a classifier to be cut: a name of `torchsid.models.synthetic_names()` or `vit-blocks`; or `shared`
    stages: tuple[int, ...]  # that SID is measured with, ascending; of a shared cascade its depth alone
    extractor: str = "mlp"  # of a shared cascade: a name of `torchsid.models.names()`
    blocks: int | None = None  # of a network that lets them be chosen; it is cut after each when there are as many stages
    width: int | None = None  # of the classifier, its own by default; of the hidden layers of a shared cascade, 256
    batch_size: Count = 128
    channels: int = 3
    image_size: int = 32
    classes: Several = 10
    context: Count = 64  # tokens of a text
    vocabulary: Several = 65
    head: str = "auto"  # a kind, or with settings `KIND:SETTING=VALUE,SETTING=VALUE`
    max_head_share: Positive = 0.25  # of a head's operations in those of an even stage
    candidates: CountOrZero = 0  # that SID's stages before the last tell apart, beside the batch's outcomes; 0: all
    # Options joined by `+`, such as `bfloat16+channels-last`. `bfloat16` is autocast, weights stay float32; `compiled` compiles
    # each stage, or the whole model where it is not cut; `captured` replays the whole step as a CUDA graph.
    variant: str = "float32"
    device: str = "cpu"

    @property
    def shared(self) -> bool:
        """Whether the network is a shared cascade; its plain counterpart is the extractor and one linear layer."""
        return self.model == SHARED

    def has(self, option: Option) -> bool:
        """Return whether the variant has an option."""
        return option in self.variant.split("+")

    @property
    def title(self) -> str:
        """What it is: the model, or the extractor and the depth, and whatever else is not the usual."""
        name = f"{self.extractor} extractor, L = {self.stages[0]}" if self.shared else self.model
        blocks, width = f"{self.blocks} blocks" if self.blocks else "", f"width {self.width}" if self.width else ""
        tokens = "" if self.shared or task_of(network_of(self.model)) == "images" else f"{self.context} tokens of {self.vocabulary}"
        head, variant = self.head if self.head != "auto" else "", self.variant if self.variant != "float32" else ""
        few = f"{self.candidates:,} candidates" if self.candidates else ""
        return ", ".join(filter(None, [name, blocks, width, tokens, head, few, variant]))

    @property
    def samples(self) -> Synthetic:
        """What the network reads and is to answer."""
        return Synthetic(
            task="images" if self.shared else task_of(network_of(self.model)),
            channels=self.channels,
            image_size=self.image_size,
            classes=self.classes,
            context=self.context,
            vocabulary=self.vocabulary,
        )

    def new_model(self) -> nn.Module:
        """Return the plain network, in train mode on its device, with the same weights at every call, or raise a ValueError."""
        torch.manual_seed(0)
        if self.shared:
            model: nn.Module = nn.Sequential(self._new_extractor(), nn.Linear(_FEATURES, self.classes))
            return self._laid_out(model).train()
        network, samples = network_of(self.model), self.samples
        settings: dict[str, Any] = {"width": 64, "depth": 16} if self.model == VIT_BLOCKS else {}
        settings |= {"width": self.width} if self.width else {}
        if self.blocks and (name := blocks_setting(network)):
            settings[name] = self.blocks
        return self._laid_out(network(samples.inputs(2), samples.outcomes, **settings)).train()

    def new_cascade(self, stages: int, by: By | None = None) -> Cascade:
        """Return the network with so many stages, with the same weights at every call; what is compiled is cut by graph.

        Where it cannot be cut so that is a CutError, where a head cannot be had a HeadError.
        """
        if self.shared:
            torch.manual_seed(0)
            cascade: Cascade = shared_cascade(self._new_extractor(), self.classes, stages, hidden=self.width or 256)
        else:
            ends = [f"blocks.{block}" for block in range(stages - 1)] if stages == self.blocks else stages
            by = by or ("graph" if self.has("compiled") else "boundary")
            model = self.new_model()
            mask, example = getattr(model, "mask_of", None), self.batch()[0][:2]
            kind, settings = head_of(self.head)
            cascade = staged_cascade(
                model,
                self.samples.outcomes,
                ends,
                example,
                by=by,
                head=kind,
                head_settings=settings,
                max_head_share=self.max_head_share,
                mask=mask,
            )
        self._laid_out(cascade)
        return cascade

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return inputs `[B, ...]` and targets, `[B]` or of a language model `[B, T]`, the same at every call."""
        x, target = self.samples.batch(self.batch_size)
        if self.has("channels-last") and x.dim() == 4:
            x = x.to(memory_format=torch.channels_last)
        return x.to(self.device), target.to(self.device)

    def throughput(self, step_seconds: float) -> dict[str, float]:
        """Return the images or texts a second, or of a language model the tokens, under their names in a row."""
        samples = self.samples
        return {f"{samples.unit}_per_second": self.batch_size * samples.positions / step_seconds}

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return the context that forward and backward run in."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.has("bfloat16"))

    def _new_extractor(self) -> nn.Module:
        return models.create(self.extractor, in_channels=self.channels, image_size=self.image_size, feature_dim=_FEATURES)

    def _laid_out(self, module: nn.Module) -> nn.Module:
        module.to(self.device)
        return module.to(memory_format=torch.channels_last) if self.has("channels-last") else module  # type: ignore[call-overload]


def network_of(name: str) -> Any:
    """Return the classifier of this name, or what `vit-blocks` is made of."""
    return ViTTiny if name == VIT_BLOCKS else models.CLASSIFIERS.load(name)


def head_of(text: str) -> tuple[str, dict[str, Any]]:
    """Return the kind of a head and its settings, in TOML; a ValueError where they cannot be read.

    >>> head_of("readout:refresh=50,shared=true")
    ('readout', {'refresh': 50, 'shared': True})
    """
    kind, _, settings = text.partition(":")
    try:
        return kind, tomllib.loads(settings.replace(",", "\n"))
    except tomllib.TOMLDecodeError:
        raise ValueError(f"head {text!r}: give KIND, or KIND:SETTING=VALUE,SETTING=VALUE, such as readout:refresh=50") from None


def task_of(network: Any) -> Any:
    """Return the task whose samples a network reads, as its attribute `task` says; images where it has none."""
    return getattr(network, "task", "images")


def blocks_setting(network: Any) -> str | None:
    """Return the parameter by which the number of a network's blocks is chosen, if there is one."""
    return next((name for name in ("blocks", "depth") if name in signature(network).parameters), None)


@dataclass(frozen=True)
class Procedure:
    """A way to train: a method, the stages of the network (1: it is not cut), and how it goes about it."""

    method: str
    stages: int = 1
    micro_batches: int = 1  # parts of the batch over which gradients are gathered
    window: int = 1  # how many stages a local loss reaches back over

    @property
    def name(self) -> str:
        """The method, with what tells it from others of the same."""
        parts = [f"{SID}-{self.stages}" if self.method == SID else self.method]
        if self.method == SID and self.window > 1:
            parts.append(f"window {self.window}")
        if self.method != ACCUMULATION and self.micro_batches > 1:
            parts.append(f"{self.micro_batches} micro-batches")
        return ", ".join(parts)


def contenders(workload: Workload) -> list[Procedure]:
    """Return who is compared: on a shared cascade the public code, backpropagation, and SID by each of its schedules.

    A classifier is trained by backpropagation, in the usual ways to save memory, by deep supervision through SID's heads, and SID.
    """
    if workload.shared:
        return [Procedure(method, *workload.stages) for method in (REFERENCE, BACKPROP, *schedules.names(), PLAIN)]
    supervised = [stages for stages in workload.stages if stages <= _DEEPEST_SUPERVISION]
    return [
        Procedure(BACKPROP),
        Procedure(CHECKPOINTING, max(workload.stages)),
        Procedure(ACCUMULATION, micro_batches=_MICRO_BATCHES),
        *(Procedure(DEEP_SUPERVISION, stages, window=stages) for stages in supervised[-1:]),
        *(Procedure(SID, stages) for stages in workload.stages),
    ]
