"""Encoded images to pixels."""

import io
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from torchsid.errors import DataError, printable
from torchsid.packages import require
from torchsid.tasks.images.raw import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

_JPEG_XL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")  # a bare codestream, a container
_HEIF = re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL)
_SHOWN = 10

Crop = Callable[[int, int], tuple[float, float, float, float]]
"""From an image's width and height to a box within it: left, top, right, bottom."""


def read_image(path: str | os.PathLike[str], channels: int, size: int | tuple[int, int]) -> torch.Tensor:
    """Read an image file as a model expects it.

    Args:
        path: the file, of any format that Pillow reads.
        channels: 1 for grey, 3 for colour; the image is converted.
        size: height and width in pixels, or the side of a square; an image of another size is resized (bilinear) until it just
            covers them, and cropped at the centre.

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        DataError: the file is missing, truncated or no image.
    """
    try:
        return torch.from_numpy(decode(Path(path).read_bytes(), channels, (size, size) if isinstance(size, int) else size))
    except Exception as error:
        raise DataError(f"{printable(str(path))}: {problem_of(error)}") from error


def decode(
    data: bytes | None, channels: int | None = None, size: tuple[int, int] | None = None, crop: Crop | None = None
) -> Pixels:
    """Decode one image to uint8 `[C, H, W]`; without `channels`, grey images keep one and all others get three.

    Raises:
        DataError: what is wrong with the image; the caller adds where it is. Decoders raise errors of other kinds, too.
    """
    return pixels(opened(data), channels, size, crop)


def opened(data: bytes | None) -> "Image":
    """Return an image of which the first bytes have been read; raises as `decode`."""
    if not data:
        raise DataError("no image bytes")
    if data.startswith(_JPEG_XL):
        require("pillow_jxl", extra="jxl", purpose="decoding JPEG XL images")
    elif _HEIF.match(data):
        require("pillow_heif", extra="heif", purpose="decoding HEIF images").register_heif_opener()
    pillow = require("PIL.Image", extra="files", purpose="decoding images")
    try:
        image: Image = pillow.open(io.BytesIO(data))
    except pillow.UnidentifiedImageError:
        raise DataError("of no image format that Pillow knows, or truncated") from None
    if image.format == "EPS":
        raise DataError("is PostScript, which is a program and is not run; convert it to PNG")
    return image


def pixels(image: "Image", channels: int | None = None, size: tuple[int, int] | None = None, crop: Crop | None = None) -> Pixels:
    """Return the pixels of a Pillow image as uint8 `[C, H, W]`.

    It is turned as its camera was held, what is transparent is white, the first of several pictures counts, and of 16 bits the
    upper eight. With `size`, height and width, it is resized until it just covers them, and cropped at the centre; with `crop` as
    well, what that says of width and height is cut out, as left, top, right and bottom, and resized.
    """
    pillow, ops = (require(f"PIL.{module}", extra="files", purpose="decoding images") for module in ("Image", "ImageOps"))
    if size is not None:  # of a large JPEG only the coarse frequencies are decoded; the box is meant before the image is turned
        left, top, right, bottom = crop(*image.size) if crop else (0, 0, *image.size)
        shares = (right - left) / image.width, (bottom - top) / image.height
        image.draft(None, (int(2 * max(size) / shares[0]), int(2 * max(size) / shares[1])))
    image.load()
    image = ops.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    elif image.mode in ("I", "F"):
        raise DataError(f"has 32 bits a channel (mode {image.mode}); convert it to 8 or 16 bits")
    if channels is None:
        channels = 1 if image.mode in ("1", "L", "LA", "La") else 3
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if size is not None and (crop or image.size != size[::-1]):
        box = (crop or partial(_centre, size))(*image.size)
        image = image.resize(size[::-1], resample=pillow.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    array = np.array(image, dtype=np.uint8)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _centre(size: tuple[int, int], width: int, height: int) -> tuple[float, float, float, float]:
    scale = min(height / size[0], width / size[1])
    across, down = min(scale * size[1], width), min(scale * size[0], height)  # not a rounding error beyond the image
    left, top = (width - across) / 2, (height - down) / 2
    return left, top, left + across, top + down


def problem_of(error: Exception) -> str:
    """Say what is wrong with an image that could not be read or decoded."""
    if isinstance(error, DataError):
        return str(error)
    return f"not decodable ({' '.join(str(error).split())[:200] or type(error).__name__})"


def named(shape: tuple[int, ...]) -> str:
    """Say what `(C, H, W)` is."""
    channels, height, width = shape
    return f"{height}x{width} {'grey' if channels == 1 else 'colour'}"
