"""Augmentation of whole batches, as tensor operations.

Images stay uint8 until the end: a quarter of the bytes to move, and one conversion. All random numbers come from the
generator that is passed, in the same order on every device.
"""

from dataclasses import dataclass as plain_dataclass

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional as F

from torchsid.settings import STRICT, CountOrZero, NotNegative


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AugmentConfig:
    """What is done to the images of a training batch; everything is off but normalisation."""

    crop: CountOrZero = 0
    """Random crop: pixels of black padding on each side, 4 for CIFAR."""
    flip: bool = False
    """Mirror every second image left to right, on average."""
    cutout: CountOrZero = 0
    """Side of a square painted in the mean colour, in pixels."""
    mixup: NotNegative = 0.0
    """α of the Beta(α, α) that two images and their labels are blended with; 0 is off."""
    cutmix: NotNegative = 0.0
    """α of the Beta(α, α) for the area pasted from another image; 0 is off. With mixup as well, each batch gets one."""
    normalise: bool = True
    """Subtract the mean and divide by the standard deviation of the training set, per channel."""


@plain_dataclass(frozen=True)
class Augmentation:
    """Crop, flip, cutout, then mixup or cutmix, then normalisation.

    Attributes:
        config: what to do.
        mean: per channel, of images scaled to [0, 1].
        std: standard deviation, likewise.
        num_classes: C, the width of the rows that mixup and cutmix make of labels.
    """

    config: AugmentConfig
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: uint8 `[B, C, H, W]`.
            labels: int64 `[B]`.
            generator: a CPU generator; `generator_at("step", seed, epoch, step)`.

        Returns:
            float32 `[B, C, H, W]`, and the labels, int64 `[B]`; under mixup or cutmix probability rows `[B, classes]`.
        """
        config = self.config
        if config.crop or config.flip:
            images = crop_and_flip(images, config.crop, config.flip, generator)
        if config.cutout:
            images = cutout(images, config.cutout, self.mean, generator)
        mixing = self._mixing(generator)
        if not mixing:
            return self.finish(images), labels

        partner = torch.randperm(len(images), generator=generator).to(images.device)
        share = _beta(config.mixup if mixing == "mixup" else config.cutmix, len(images), generator).to(images.device)
        if mixing == "cutmix":
            images, share = _paste(images, partner, share, generator)
            x = self.finish(images)
        else:
            x = self.finish(images)
            x = torch.lerp(x[partner], x, share[:, None, None, None])
        rows = F.one_hot(labels, self.num_classes).to(torch.float32)
        return x, torch.lerp(rows[partner], rows, share[:, None])

    def finish(self, images: Tensor) -> Tensor:
        """Return uint8 images `[..., C, H, W]` as a network reads them, float32: normalised, or only scaled to [0, 1]."""
        return normalise(images, self.mean, self.std) if self.config.normalise else images.float().div_(255)

    def _mixing(self, generator: torch.Generator) -> str:
        if self.config.mixup and self.config.cutmix:
            return "mixup" if torch.rand((), generator=generator) < 0.5 else "cutmix"
        return "mixup" if self.config.mixup else "cutmix" if self.config.cutmix else ""


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return `(images / 255 − mean) / std`, float32 `[..., C, H, W]`, of uint8 images."""
    centre = torch.tensor(mean, device=images.device)[:, None, None]
    width = torch.tensor(std, device=images.device)[:, None, None]
    return images.float().mul_(1 / (255 * width)).sub_(centre / width)


def crop_and_flip(images: Tensor, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `padding` pixels either way, black flowing in, and mirror about half of them.

    One gather from the padded images does both: `[B, H·W]` source positions, the same for all channels.
    """
    batch, channels, height, width = images.shape
    device = images.device
    top, left = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator).to(device)  # [B, 1] each
    columns = torch.arange(width, device=device).expand(batch, width)  # [B, W]
    if flip:
        mirrored = (torch.rand(batch, 1, generator=generator) < 0.5).to(device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows = top + torch.arange(height, device=device)  # [B, H]
    position = rows[:, :, None] * (width + 2 * padding) + (left + columns)[:, None, :]  # [B, H, W]
    padded = F.pad(images, (padding,) * 4).flatten(2)  # [B, C, (H+2p)·(W+2p)]
    index = position.flatten(1)[:, None].expand(batch, channels, height * width)
    return padded.gather(2, index).view(batch, channels, height, width)


def cutout(images: Tensor, side: int, mean: tuple[float, ...], generator: torch.Generator) -> Tensor:
    """Paint a square in the mean colour, its centre anywhere in the image (T. DeVries and G. Taylor, 2017)."""
    colour = torch.tensor([round(255 * value) for value in mean], dtype=torch.uint8, device=images.device)
    return torch.where(_boxes(images, (side, side), generator), colour[:, None, None], images)


def _paste(images: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of about `1 − share` of the area from the partner (S. Yun et al., 2019).

    Returns the images and the share of the area that is left.
    """
    side = (1 - share.cpu()).sqrt()
    height, width = ((side * extent).round().long() for extent in images.shape[2:])
    inside = _boxes(images, (height, width), generator)
    return torch.where(inside, images[partner], images), 1 - inside.float().mean(dim=(1, 2, 3))


def _boxes(images: Tensor, sides: tuple[int, int] | tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
    """Return a mask `[B, 1, H, W]` of boxes of that height and width (int64 `[B]`) anywhere, cut off at the border."""
    within = []
    for extent, side in zip(images.shape[2:], map(torch.as_tensor, sides), strict=True):
        start = torch.randint(0, extent, (len(images),), generator=generator) - side // 2  # [B]
        place = torch.arange(extent)
        within.append((place >= start[:, None]) & (place < (start + side)[:, None]))
    tall, wide = within  # [B, H] and [B, W]
    return (tall[:, :, None] & wide[:, None, :])[:, None].to(images.device)


def _beta(alpha: float, batch: int, generator: torch.Generator) -> Tensor:
    """Draw float32 `[B]` from Beta(α, α); NumPy's generator, since torch's Beta takes none."""
    seed = int(torch.randint(0, 2**63 - 1, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, size=batch).astype(np.float32))
