"""The models that can be planned by name: every classifier, and the large ones that only a plan can afford."""

from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

import torch
from torch import nn

from torchsid import models
from torchsid.errors import ConfigError, unknown_name
from torchsid.models.classifiers.mlp import MLP
from torchsid.models.classifiers.vit_tiny import ViTTiny

# arXiv 2010.11929 (base, large, huge), 2012.12877 (small), 2106.04560 (giant: its G/14, 1.84 billion parameters)
PRESETS: dict[str, dict[str, Any]] = {
    "vit-small": {"width": 384, "depth": 12, "patch_size": 16},
    "vit-base": {"width": 768, "depth": 12, "patch_size": 16},
    "vit-large": {"width": 1024, "depth": 24, "patch_size": 16},
    "vit-huge": {"width": 1280, "depth": 32, "patch_size": 14, "heads": 16},
    "vit-giant": {"width": 1664, "depth": 48, "patch_size": 14, "heads": 16, "mlp_ratio": 8192 / 1664},
    "mlp-64": {"width": 1024, "depth": 64},
    "mlp-256": {"width": 1024, "depth": 256},
}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model by name, and what differs from the name's own sizes."""

    name: str
    classes: int = 1000
    image_size: int = 224
    width: int | None = None
    depth: int | None = None

    def own(self, size: Literal["width", "depth"]) -> int | None:
        """Return the width or the number of blocks that it is built with; None where it cannot be set."""
        default = signature(self._network).parameters.get(size)
        return getattr(self, size) or PRESETS.get(self.name, {}).get(size, default and default.default)

    @property
    def _network(self) -> Any:
        return ViTTiny if self.name.startswith("vit") else MLP if self.name in PRESETS else models.CLASSIFIERS.load(self.name)

    def check(self) -> None:
        """Check what can be checked without building.

        Raises:
            ConfigError: the name is unknown, or a setting is not for it; all problems.
        """
        problems = []
        if self.name not in names() and ":" not in self.name:
            problems.append(unknown_name("model", self.name, names()))
        elif self.depth and "depth" not in signature(self._network).parameters:
            problems.append(f"depth {self.depth}: {self.name} has a fixed one; it can be set for a vit or an mlp")
        if self.classes < 2:
            problems.append(f"classes {self.classes}: a belief needs 2 or more")
        if problems:
            raise ConfigError(problems, source="model")

    def build(self) -> nn.Module:
        """Return the classifier, in the mode and on the device of the moment: fake, meta or real.

        Raises:
            ValueError: it cannot take such images or such a width; all problems.
        """
        self.check()
        own = PRESETS.get(self.name, {})
        given = {size: value for size in ("width", "depth") if (value := getattr(self, size)) is not None}
        settings = own | given
        if settings.get("width") != own.get("width"):
            settings.pop("heads", None)  # then one for every 64 of the width
        model: nn.Module = self._network(
            torch.empty(2, 3, self.image_size, self.image_size, device="meta"), self.classes, **settings
        )
        return model


def names() -> tuple[str, ...]:
    """Return the names of all models that can be planned."""
    return tuple(dict.fromkeys((*models.classifier_names(), *PRESETS)))
