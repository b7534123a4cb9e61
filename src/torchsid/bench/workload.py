"""What is compared: a network and a batch, the same for every contender; and ways to train it, by name, before they are built."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

import torch
from annotated_types import Ge
from torch import Tensor, nn

from torchsid import models
from torchsid.core import schedules
from torchsid.core.cascade import Cascade
from torchsid.core.shared import shared_cascade
from torchsid.cut.assemble import By, staged_cascade
from torchsid.models.classifiers.mlp import MLP
from torchsid.models.classifiers.vit_tiny import ViTTiny
from torchsid.settings import Count

SHARED = "shared"  # the paper's network: an extractor, and stages that all read its features
VIT_BLOCKS = "vit-blocks"  # a narrow vision transformer with as many equal blocks as asked for, width 64 by default

Several = Annotated[int, Ge(2)]
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

    model: str  # a classifier to be cut: a name of `torchsid.models.classifier_names()` or `vit-blocks`; or `shared`
    stages: tuple[int, ...]  # that SID is measured with, ascending; of a shared cascade its depth alone
    extractor: str = "mlp"  # of a shared cascade: a name of `torchsid.models.names()`
    blocks: int | None = None  # of the block MLP, which is cut after each when there are as many stages, or of `vit-blocks`
    width: int | None = None  # of the classifier, its own by default; of the hidden layers of a shared cascade, 256
    batch_size: Count = 128
    channels: int = 3
    image_size: int = 32
    classes: Several = 10
    head: str = "auto"
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
        return ", ".join(filter(None, [name, blocks, width, self.variant if self.variant != "float32" else ""]))

    def new_model(self) -> nn.Module:
        """Return the plain network, in train mode on its device, with the same weights at every call, or raise a ValueError."""
        torch.manual_seed(0)
        example = torch.empty(2, self.channels, self.image_size, self.image_size, device="meta")
        if self.shared:
            model: nn.Module = nn.Sequential(self._new_extractor(), nn.Linear(_FEATURES, self.classes))
        elif self.model == VIT_BLOCKS:
            model = ViTTiny(example, self.classes, width=self.width or 64, depth=self.blocks or 16)
        elif self.blocks:
            model = MLP(example, self.classes, self.blocks, width=self.width or 256)
        else:
            model = models.CLASSIFIERS.load(self.model)(example, self.classes, **({"width": self.width} if self.width else {}))
        return self._laid_out(model).train()

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
            cascade = staged_cascade(self.new_model(), self.classes, ends, self.batch()[0][:2], by=by, head=self.head)
        self._laid_out(cascade)
        return cascade

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return images `[B, K, S, S]` of K channels and classes `[B]`, the same at every call."""
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(self.batch_size, self.channels, self.image_size, self.image_size, generator=generator)
        target = torch.randint(self.classes, (self.batch_size,), generator=generator)
        if self.has("channels-last"):
            x = x.to(memory_format=torch.channels_last)
        return x.to(self.device), target.to(self.device)

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return the context that forward and backward run in."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.has("bfloat16"))

    def _new_extractor(self) -> nn.Module:
        return models.create(self.extractor, in_channels=self.channels, image_size=self.image_size, feature_dim=_FEATURES)

    def _laid_out(self, module: nn.Module) -> nn.Module:
        module.to(self.device)
        return module.to(memory_format=torch.channels_last) if self.has("channels-last") else module  # type: ignore[call-overload]


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
