"""Augmentation of whole batches, as tensor operations.

What is random is drawn first, as small tensors on the CPU; it is applied wherever the images are, by operations of fixed shape that
never wait for the device. Images stay uint8 until the end: a quarter of the bytes to move, and one conversion.
"""

from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from functools import cache

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional as F

from torchsid.settings import STRICT, CountOrZero, NotNegative, Share
from torchsid.tasks.images.crop import resized_crop
from torchsid.tasks.stored import Draws


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AugmentConfig:
    """What is done to the images of a training batch; everything is off but normalisation."""

    random_resized_crop: Share = 0.0
    """Least share of an image's area in a random crop that is resized to full size, 0.08 for ImageNet; 0 is off. On the fly it
    is cut from the original file, else from the stored image."""
    crop: CountOrZero = 0
    """Random crop: pixels of black padding on each side, 4 for CIFAR."""
    flip: bool = False
    """Mirror images left to right with probability ½."""
    cutout: CountOrZero = 0
    """Side of a square painted in the mean colour, in pixels."""
    mixup: NotNegative = 0.0
    """α of the Beta(α, α) that two images and their labels are blended with; 0 is off."""
    cutmix: NotNegative = 0.0
    """α of the Beta(α, α) for the area pasted from another image; 0 is off. If mixup is on too, each batch gets one of them."""
    normalise: bool = True
    """Subtract the mean and divide by the standard deviation of the training set, per channel."""


@plain_dataclass(frozen=True)
class Augmentation:
    """Resized crop, crop, flip, cutout, then mixup or cutmix, then normalisation.

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

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
        """Return what is random for `count` images of a height and width, on the CPU.

        Returns:
            What is asked for. int64: `offset` `[2, B, 1]`, the corner of the crop in the padded image; `cutout` `[2, 2, B]`,
            boxes; `partner` `[B]`; `pasted` `[2, 2, B]`, boxes, empty in a batch that gets mixup. bool: `mirrored` `[B, 1]`.
            float32 `[B]`: the image's own share in its pixels, `blend` (1 in a batch that gets cutmix), and in its label, `share`.
            float32 `[B, 4]`: `crop`, uniform from 0 to 1, of which `crop.box` makes boxes.
        """
        config, draws = self.config, dict[str, Tensor]()
        if config.random_resized_crop:
            draws["crop"] = torch.rand(count, 4, generator=generator)
        if config.crop or config.flip:
            draws["offset"] = torch.randint(0, 2 * config.crop + 1, (2, count, 1), generator=generator)
        if config.flip:
            draws["mirrored"] = torch.rand(count, 1, generator=generator) < 0.5
        if config.cutout:
            side = torch.full((count,), config.cutout)
            draws["cutout"] = _draw_boxes((side, side), size, generator)
        both = bool(config.mixup and config.cutmix)
        mixes = bool(torch.rand((), generator=generator) < 0.5) if both else bool(config.mixup)
        if not mixes and not config.cutmix:
            return draws
        draws["partner"] = torch.randperm(count, generator=generator)
        draws["share"] = draws["blend"] = share = _beta(config.mixup if mixes else config.cutmix, count, generator)
        if not mixes:
            side = (1 - share).sqrt()
            draws["pasted"] = boxes = _draw_boxes([(side * extent).round().long() for extent in size], size, generator)
            area = (boxes[:, 1] - boxes[:, 0]).prod(0)
            draws["share"], draws["blend"] = 1 - area / (size[0] * size[1]), torch.ones(count)
        elif both:
            draws["pasted"] = torch.zeros(2, 2, count, dtype=torch.int64)
        return draws

    def __call__(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: uint8 `[B, C, H, W]`.
            labels: int64 `[B]`.
            draws: of `draw`, on the device of the images; without `crop` where they are cropped already.

        Returns:
            float32 `[B, C, H, W]`, and the labels, int64 `[B]`; under mixup or cutmix probability rows `[B, classes]`.
        """
        config = self.config
        if "crop" in draws:
            images = resized_crop(images, draws["crop"], config.random_resized_crop)
        if config.crop or config.flip:
            images = crop_and_flip(images, config.crop, draws["offset"], draws.get("mirrored"))
        if config.cutout:
            images = torch.where(_inside(draws["cutout"], images), _colour(self.mean, images.device), images)
        if not (config.mixup or config.cutmix):
            return self.finish(images), labels
        partner = draws["partner"]
        if config.cutmix:  # S. Yun et al., 2019
            images = torch.where(_inside(draws["pasted"], images), images[partner], images)
        x = self.finish(images)
        if config.mixup:
            x = torch.lerp(x[partner], x, draws["blend"][:, None, None, None])
        rows = F.one_hot(labels, self.num_classes).to(torch.float32)
        return x, torch.lerp(rows[partner], rows, draws["share"][:, None])

    def finish(self, images: Tensor) -> Tensor:
        """Return uint8 images `[..., C, H, W]` as a network reads them, float32: normalised, or only scaled to [0, 1]."""
        return normalise(images, self.mean, self.std) if self.config.normalise else images.float().div_(255)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return `(images / 255 − mean) / std`, float32 `[..., C, H, W]`, of uint8 images."""
    factor, shift = _affine(mean, std, images.device)
    return images.float().mul_(factor).sub_(shift)


def crop_and_flip(images: Tensor, padding: int, offset: Tensor, mirrored: Tensor | None) -> Tensor:
    """Shift each image by up to `padding` pixels either way, black flowing in, and mirror some of them.

    One gather from the padded images does both: `[B, H·W]` source positions, the same for all channels.

    Args:
        images: uint8 `[B, C, H, W]`.
        padding: on each side.
        offset: int64 `[2, B, 1]`, the corner in the padded image, top and left.
        mirrored: bool `[B, 1]`, or None.
    """
    batch, channels, height, width = images.shape
    top, left = offset  # [B, 1] each
    columns = torch.arange(width, device=images.device).expand(batch, width)  # [B, W]
    if mirrored is not None:
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows = top + torch.arange(height, device=images.device)  # [B, H]
    position = rows[:, :, None] * (width + 2 * padding) + (left + columns)[:, None, :]  # [B, H, W]
    padded = F.pad(images, (padding,) * 4).flatten(2)  # [B, C, (H+2p)·(W+2p)]
    index = position.flatten(1)[:, None].expand(batch, channels, height * width)
    return padded.gather(2, index).view(batch, channels, height, width)


def _draw_boxes(sides: Sequence[Tensor], size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return boxes of that height and width (int64 `[B]`) with their centres anywhere, cut off at the border; see `_inside`."""
    boxes = []
    for side, extent in zip(sides, size, strict=True):
        start = torch.randint(0, extent, (len(side),), generator=generator) - side // 2
        boxes.append(torch.stack([start, start + side]).clamp(0, extent))
    return torch.stack(boxes)


def _inside(boxes: Tensor, images: Tensor) -> Tensor:
    """Return a mask `[B, 1, H, W]` of boxes `[2, 2, B]`: for height and width, where each begins and ends."""
    within: list[Tensor] = []
    for (start, end), extent in zip(boxes, images.shape[2:], strict=True):
        place = torch.arange(extent, device=images.device)
        within.append((place >= start[:, None]) & (place < end[:, None]))
    tall, wide = within  # [B, H] and [B, W]
    return (tall[:, :, None] & wide[:, None, :])[:, None]


# Constants are copied to a device once: a copy in each step would keep the step from being captured as a CUDA graph.
@cache
def _affine(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what normalisation multiplies pixels by, and what it takes away then, `[C, 1, 1]` each."""
    centre, width = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return torch.reciprocal(255 * width).to(device), torch.div(centre, width).to(device)


@cache
def _colour(mean: tuple[float, ...], device: torch.device) -> Tensor:
    """Return the mean colour, uint8 `[C, 1, 1]`, with which cutout paints (T. DeVries and G. Taylor, 2017)."""
    return torch.tensor([round(255 * value) for value in mean], dtype=torch.uint8)[:, None, None].to(device)


def _beta(alpha: float, batch: int, generator: torch.Generator) -> Tensor:
    """Draw float32 `[B]` from Beta(α, α); NumPy's generator, since torch's Beta takes none."""
    seed = int(torch.randint(0, 2**63 - 1, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, size=batch).astype(np.float32))
