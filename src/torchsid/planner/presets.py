"""The models that can be planned by name: every classifier, and the large ones that only a plan can afford. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from torchsid import models
from torchsid.errors import ConfigError, unknown_name
from torchsid.settings import settings_of

if TYPE_CHECKING:
    from torch import nn

_VIT, _MLP = ("torchsid.models.vit", "ViTTiny"), ("torchsid.models.block_mlp", "BlockMLP")
# arXiv 2010.11929 (base, large, huge), 2012.12877 (tiny, small), 2106.04560 (giant: its G/14, 1.84 billion parameters)
PRESETS: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "mlp": (_MLP, {"width": 256, "depth": 8}),
    "mlp-64": (_MLP, {"width": 1024, "depth": 64}),
    "mlp-256": (_MLP, {"width": 1024, "depth": 256}),
    "vit-tiny": (_VIT, {"width": 192, "depth": 12}),
    "vit-small": (_VIT, {"width": 384, "depth": 12, "patch_size": 16}),
    "vit-base": (_VIT, {"width": 768, "depth": 12, "patch_size": 16}),
    "vit-large": (_VIT, {"width": 1024, "depth": 24, "patch_size": 16}),
    "vit-huge": (_VIT, {"width": 1280, "depth": 32, "patch_size": 14, "heads": 16}),
    "vit-giant": (_VIT, {"width": 1664, "depth": 48, "patch_size": 14, "heads": 16, "mlp_ratio": 8192 / 1664}),
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
        given: int | None = getattr(self, size)
        if given is not None:
            return given
        if self.name in PRESETS:
            return PRESETS[self.name][1].get(size)
        settings = settings_of(models.CLASSIFIERS.load(self.name))
        default: int | None = settings[size].default if size in settings else None
        return default

    def check(self) -> None:
        """Check what can be checked without building.

        Raises:
            ConfigError: the name is unknown, or a setting is not for it; all problems.
        """
        problems = []
        if self.name not in names() and ":" not in self.name:
            problems.append(unknown_name("model", self.name, names()))
        elif self.depth and self.name not in PRESETS:
            problems.append(f"depth {self.depth}: {self.name} has a fixed one; it can be set for {', '.join(PRESETS)}")
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
        images = {"num_classes": self.classes, "in_channels": 3, "image_size": self.image_size}
        if self.name not in PRESETS:
            return models.classifier(self.name, **images, width=self.width)
        (home, symbol), own = PRESETS[self.name]
        settings = {**own, "width": self.own("width"), "depth": self.own("depth")}
        if settings["width"] != own["width"]:
            settings.pop("heads", None)  # then one for every 64 of the width
        model: nn.Module = getattr(import_module(home), symbol)(**images, **settings)
        return model


def names() -> tuple[str, ...]:
    """Return the names of all models that can be planned."""
    return tuple(dict.fromkeys((*models.classifier_names(), *PRESETS)))
