"""The models that can be planned by name: every classifier, and the large ones that only a plan can afford. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torchsid import models
from torchsid.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Preset:
    """Sizes of a vision transformer, or (without patches) of a block MLP."""

    width: int
    depth: int
    patch: int | None = None
    hidden: int | None = None
    heads: int | None = None


# arXiv 2010.11929 (base, large, huge), 2012.12877 (small), 2106.04560 (giant: its G/14, 1.84 billion parameters)
PRESETS = {
    "vit-small": Preset(384, 12, 16, 1536, 6),
    "vit-base": Preset(768, 12, 16, 3072, 12),
    "vit-large": Preset(1024, 24, 16, 4096, 16),
    "vit-huge": Preset(1280, 32, 14, 5120, 16),
    "vit-giant": Preset(1664, 48, 14, 8192, 16),
    "mlp-64": Preset(1024, 64),
    "mlp-256": Preset(1024, 256),
}
_OWN_DEPTH = {"mlp": 8, "vit-tiny": 12}  # of the classifiers whose depth can be set
_OWN_WIDTH = {"simple-cnn": 128, "mlp": 256, "vit-tiny": 192}  # of the others 64


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model by name, and what differs from the name's own sizes."""

    name: str
    classes: int = 1000
    image_size: int = 224
    width: int | None = None
    depth: int | None = None

    @property
    def own_width(self) -> int:
        """The width that it is built with."""
        return self.width or (PRESETS[self.name].width if self.name in PRESETS else _OWN_WIDTH.get(self.name, 64))

    @property
    def own_depth(self) -> int | None:
        """The number of blocks that it is built with; None where it cannot be set."""
        own = PRESETS[self.name].depth if self.name in PRESETS else _OWN_DEPTH.get(self.name)
        return own and (self.depth or own)

    def check(self) -> None:
        """Check what can be checked without building.

        Raises:
            ConfigError: the name is unknown, or a setting is not for it; all problems.
        """
        problems = []
        if self.name not in names():
            problems.append(unknown_name("model", self.name, names()))
        elif self.depth and self.own_depth is None:
            deep = [name for name in names() if ModelSpec(name=name).own_depth]
            problems.append(f"depth {self.depth}: {self.name} has a fixed one; it can be set for {', '.join(deep)}")
        if self.classes < 2:
            problems.append(f"classes {self.classes}: a belief needs 2 or more")
        if problems:
            raise ConfigError(problems, source="model")

    def build(self) -> nn.Module:
        """Return the classifier, in the mode and on the device of the moment: fake, meta or real.

        Raises:
            ConfigError: it cannot take such images or such a width; all problems.
        """
        self.check()
        size = {"num_classes": self.classes, "in_channels": 3, "image_size": self.image_size}
        if self.name in PRESETS:
            preset = PRESETS[self.name]
            if self.width and self.width != preset.width:  # in proportion
                hidden = preset.hidden and preset.hidden * self.width // preset.width
                preset = replace(preset, width=self.width, hidden=hidden, heads=None)
            preset = replace(preset, depth=self.depth or preset.depth)
        elif self.depth:
            preset = Preset(self.own_width, self.depth, self.image_size // 8 if self.name == "vit-tiny" else None)
        else:
            return models.classifier(self.name, **size, width=self.width)
        if preset.patch is None and not self.name.startswith("vit"):
            from torchsid.models.block_mlp import BlockMLP

            return BlockMLP(**size, width=preset.width, depth=preset.depth)
        from torchsid.models.vit import ViTTiny

        return ViTTiny(
            **size,
            patch_size=preset.patch,
            width=preset.width,
            depth=preset.depth,
            heads=preset.heads,
            mlp_ratio=preset.hidden / preset.width if preset.hidden else 4.0,
        )


def names() -> tuple[str, ...]:
    """Return the names of all models that can be planned."""
    return (*models.classifier_names(), *PRESETS)
