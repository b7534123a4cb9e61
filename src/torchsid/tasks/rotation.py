"""Pictures that were turned: by which angle?"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor
from torch.nn import functional as F

from torchsid.core.bins import Bins
from torchsid.tasks.domain import PARTS, Floor, Samples, Splits, generator_at
from torchsid.tasks.images.task import Images
from torchsid.tasks.linear import floor_of
from torchsid.tasks.numbers import BinsConfig, Numbers

_AT_ONCE = 1000  # images


@dataclass(frozen=True, kw_only=True)
class Rotation(Images):
    """The images of a data set, each turned about its centre by an angle in degrees, which is to be predicted.

    Angles are uniform between −`degrees` and `degrees`, and do not depend on a run's seed. Positive ones turn to the left. Bins
    reach beyond both ends by their margin.

    Raises:
        ValueError: the data set's name is unknown, or the augmentation would change the angle.
    """

    degrees: Annotated[float, Gt(0), Le(180)] = 45.0
    """The largest angle."""
    bins: BinsConfig = field(default_factory=lambda: BinsConfig(count=54))
    """The belief about the angle."""

    judged_by = "kl"

    def __post_init__(self) -> None:
        super().__post_init__()
        if unfit := list(self._unfit()):
            raise ValueError(f"{', '.join(unfit)}: what it does to an image changes the angle, or the target; leave it out")

    def _unfit(self) -> Iterator[str]:
        for name in ("flip", "mixup", "cutmix"):
            if getattr(self.augment, name):
                yield f"augment.{name}"
        if self.noise.kind != "none":
            yield "noise"

    def load(self, seed: int) -> Splits:
        """Read the data set and turn its images; the validation part depends on `seed`."""
        upright, margin = super().load(seed), 1 + 2 * self.bins.margin
        ends = Bins(-self.degrees * margin, self.degrees * margin, self.bins.count)
        numbers = Numbers(ends, self.bins.sigma, self.bins.level)
        parts = {part: self._turned(getattr(upright, part), part, numbers) for part in PARTS}
        about = {**upright.about, **numbers.about()}
        fingerprint = {**upright.fingerprint, **{f"arrays/{part}": samples.sha256() for part, samples in parts.items()}}
        return replace(upright, about=about, fingerprint=fingerprint, **parts)  # type: ignore[arg-type]

    def floor(self, splits: Splits) -> Floor | None:
        """Return what ridge regression on the pixels reaches; None of very many."""
        return floor_of(splits, lambda inputs: self.prepare(inputs, splits.about))

    def _turned(self, samples: Samples, part: str, numbers: Numbers) -> Samples:
        assert samples.rows is not None  # of images; those of a test part count anew
        last = int(samples.rows.max()) if len(samples) else 0
        drawn = torch.rand(last + 1, generator=generator_at("rotation", part == "test")).double()
        angles = (2 * drawn[samples.rows] - 1) * self.degrees
        steps = (slice(start, start + _AT_ONCE) for start in range(0, len(samples) or 1, _AT_ONCE))
        inputs = torch.cat([turned(samples.inputs[at], angles[at]) for at in steps])
        return replace(samples, inputs=inputs, target=numbers.targets(angles), value=angles, clean_target=None)


def turned(images: Tensor, degrees: Tensor) -> Tensor:
    """Return images, uint8 `[B, C, S, S]`, each turned to the left by an angle, `[B]`, bilinear, black beyond the edges."""
    angle = degrees * math.pi / 180
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack([cos, -sin, none, sin, cos, none], dim=-1).view(-1, 2, 3).float()
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round().to(torch.uint8)
