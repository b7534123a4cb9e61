"""What is trained in a comparison: one classifier, one batch, one way to compute; the same for every contender."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchsid import models
from torchsid.core.staged import StagedCascade
from torchsid.cut.build import By, staged_cascade
from torchsid.models.block_mlp import BlockMLP
from torchsid.models.vit import ViTTiny

VIT_BLOCKS = "vit-blocks"
"""A narrow vision transformer with as many equal blocks as asked for, width 64 by default."""

Variant = Literal["float32", "bfloat16", "channels-last", "compiled"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One group of contenders; ratios are taken within it."""

    model: str
    """A name of `torchsid.models.classifier_names()`, or `vit-blocks`."""
    stages: tuple[int, ...]
    """The numbers of stages that SID is measured with, ascending."""
    blocks: int | None = None
    """Blocks of the block MLP, which is cut after each when there are as many stages, or of `vit-blocks`."""
    width: int | None = None
    batch_size: int = 128
    image_size: int = 32
    classes: int = 10
    head: str = "auto"
    variant: Variant = "float32"
    """`bfloat16` is autocast, weights stay float32; `compiled` compiles each stage, or the whole model where it is not cut."""
    device: str = "cpu"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Workload":
        """Return the workload of which `dataclasses.asdict` went through JSON."""
        return cls(**{**values, "stages": tuple(values["stages"])})

    @property
    def title(self) -> str:
        """The model, the blocks and the variant, as far as they are not the usual."""
        parts = [self.model, f"{self.blocks} blocks" if self.blocks else "", self.variant if self.variant != "float32" else ""]
        return ", ".join(filter(None, parts))

    @property
    def compiled(self) -> bool:
        """Whether stages and models are compiled."""
        return self.variant == "compiled"

    def new_model(self) -> nn.Module:
        """Return the classifier, in train mode on its device, with the same weights at every call."""
        torch.manual_seed(0)
        if self.model == VIT_BLOCKS:
            model: nn.Module = ViTTiny(
                num_classes=self.classes, image_size=self.image_size, width=self.width or 64, depth=self.blocks or 16
            )
        elif self.blocks:
            model = BlockMLP(
                num_classes=self.classes, in_channels=3, image_size=self.image_size, width=self.width or 256, depth=self.blocks
            )
        else:
            model = models.classifier(
                self.model, num_classes=self.classes, in_channels=3, image_size=self.image_size, width=self.width
            )
        return self._laid_out(model).train()

    def new_cascade(self, stages: int, by: By | None = None) -> StagedCascade:
        """Return the classifier cut into stages, by graph where asked for or compiled, else by boundary.

        Raises:
            CutError: it cannot be cut so.
            HeadError: a head cannot be had.
        """
        ends = [f"blocks.{block}" for block in range(stages - 1)] if stages == self.blocks else stages
        example = self.batch()[0][:2]
        by = by or ("graph" if self.compiled else "boundary")
        cascade = staged_cascade(self.new_model(), self.classes, ends, example, by=by, head=self.head)
        self._laid_out(cascade)
        return cascade

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return images `[B, 3, S, S]` and classes `[B]`, the same at every call."""
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(self.batch_size, 3, self.image_size, self.image_size, generator=generator)
        target = torch.randint(self.classes, (self.batch_size,), generator=generator)
        if self.variant == "channels-last":
            x = x.to(memory_format=torch.channels_last)
        return x.to(self.device), target.to(self.device)

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return the context that forward and backward run in."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.variant == "bfloat16")

    def _laid_out(self, module: nn.Module) -> nn.Module:
        module.to(self.device)
        return module.to(memory_format=torch.channels_last) if self.variant == "channels-last" else module  # type: ignore[call-overload]
