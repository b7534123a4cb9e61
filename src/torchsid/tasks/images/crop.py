"""Random resized crops (C. Szegedy et al., 2015): a box of random area and shape, anywhere in the image, is resized to its size.

A box follows from four numbers that are uniform from 0 to 1. The first chooses its share of the image's area, the second its width
over its height, log-uniformly from 3/4 to 4/3, the others how far down and how far to the right it lies. Where torchvision draws
again until a box fits, here only shapes that fit are drawn.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_NARROW = 3 / 4  # width over height, and the other way round


def box(draw: Sequence[float], smallest: float, width: int, height: int) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a box in one image, in pixels.

    Args:
        draw: four numbers from 0 to 1.
        smallest: share of the image's area that a box has at least.
        width: of the image.
        height: of the image.
    """
    area, aspect = smallest + (1 - smallest) * draw[0], width / height
    narrow, wide = (min(max(ratio, _NARROW), 1 / _NARROW) for ratio in (area * aspect, aspect / area))
    ratio = narrow ** (1 - draw[1]) * wide ** draw[1]
    across, down = (area * ratio / aspect) ** 0.5, (area * aspect / ratio) ** 0.5
    fit = max(1.0, across, down)  # of a long image even the nearest shape may be too large
    across, down = across / fit * width, down / fit * height
    left, top = draw[3] * (width - across), draw[2] * (height - down)
    return left, top, min(left + across, width), min(top + down, height)


def resized_crop(images: Tensor, draws: Tensor, smallest: float) -> Tensor:
    """Cut a box out of each image and enlarge it, bilinearly, to the size of the image; the box is `box`'s, of a square.

    Args:
        images: uint8 `[B, C, S, S]`.
        draws: float32 `[B, 4]`, on their device.
        smallest: as of `box`.
    """
    area, shape, down, across = (smallest + (1 - smallest) * draws[:, 0], *draws[:, 1:].unbind(1))
    ratio = area.clamp(min=_NARROW) ** (1 - 2 * shape)
    size = torch.stack([area * ratio, area / ratio], 1).sqrt().clamp(max=1)  # width and height as shares, [B, 2]
    start = torch.stack([across, down], 1) * (1 - size)
    # From -1 to 1, the borders of the new image, to what they are in the old one.
    transform = torch.cat([torch.diag_embed(size), (2 * start + size - 1).unsqueeze(2)], 2)
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    found = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return found.round_().to(torch.uint8)
