"""Encoded images to pixels."""

import io
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from torchsid.errors import DataError
from torchsid.tasks.images.optional import require
from torchsid.tasks.images.raw import Images, Labels

if TYPE_CHECKING:
    from PIL.Image import Image

_JPEG_XL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")  # a bare codestream, a container
_SHOWN = 10


def read_image(path: str | os.PathLike[str], channels: int, size: int | tuple[int, int]) -> torch.Tensor:
    """Read an image file as a model expects it.

    Args:
        path: the file, of any format that Pillow reads.
        channels: 1 for grey, 3 for colour; the image is converted.
        size: height and width in pixels, or the side of a square; an image of another size is resized (bilinear).

    Returns:
        uint8 `[C, H, W]`.

    Raises:
        DataError: the file is missing, truncated or no image.
    """
    height, width = (size, size) if isinstance(size, int) else size
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    try:
        return torch.from_numpy(decode(data, channels, (height, width)))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def decode(data: bytes | None, channels: int | None = None, size: tuple[int, int] | None = None) -> Images:
    """Decode one image to uint8 `[C, H, W]`; without `channels`, grey images keep one and all others get three.

    Raises:
        DataError: what is wrong with the image; the caller adds where it is.
    """
    if not data:
        raise DataError("no image bytes")
    pillow = require("PIL.Image", extra="files", purpose="decoding images")
    if data.startswith(_JPEG_XL):
        require("pillow_jxl", extra="jxl", purpose="decoding JPEG XL images")
    try:
        image = pillow.open(io.BytesIO(data))
        image.load()
    except pillow.UnidentifiedImageError:
        raise DataError("of no image format that Pillow knows, or truncated") from None
    except Exception as error:  # decoders raise errors of every kind
        raise DataError(f"not decodable ({_one_line(error)})") from error
    return pixels(image, channels, size)


def pixels(image: "Image", channels: int | None = None, size: tuple[int, int] | None = None) -> Images:
    """Return the pixels of a Pillow image as uint8 `[C, H, W]`."""
    if image.mode.startswith(("I", "F")):
        raise DataError(f"has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits")
    if channels is None:
        channels = 1 if image.mode in ("1", "L", "LA") else 3
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert("RGBA").convert(mode) if image.mode == "P" else image.convert(mode)
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], resample=require("PIL.Image", extra="files", purpose="").Resampling.BILINEAR)
    array = np.array(image, dtype=np.uint8)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def decode_all(
    sources: Sequence[bytes | Path | None],
    *,
    channels: int | None,
    where: Callable[[int], str],
    on_bad_sample: Literal["error", "skip"],
) -> tuple[Images, Labels, tuple[str, ...]]:
    """Decode images, given as bytes or as files, on all cores: Pillow releases the interpreter's lock, so threads do.

    Args:
        sources: the encoded images.
        channels: see `decode`.
        where: names sample i in messages, such as `cifar10-train.parquet, row 12`.
        on_bad_sample: what to do with images that cannot be decoded or differ in shape from most of the others.

    Returns:
        uint8 `[n, C, H, W]`, the indices of the n good samples, and a sentence for each of the others.

    Raises:
        DataError: with `"error"`, names the bad samples.
    """
    with ThreadPoolExecutor(_cores()) as pool:
        outcomes = list(pool.map(partial(_attempt, channels), sources))
    return gather_good(outcomes, where=where, on_bad_sample=on_bad_sample)


def gather_good(
    outcomes: Sequence[Images | DataError],
    *,
    where: Callable[[int], str],
    on_bad_sample: Literal["error", "skip"],
) -> tuple[Images, Labels, tuple[str, ...]]:
    """Stack the images that were decoded and have the shape of most; arguments and results as for `decode_all`."""
    shapes = Counter(outcome.shape for outcome in outcomes if not isinstance(outcome, DataError))
    usual = shapes.most_common(1)[0][0] if shapes else ()
    good: list[Images] = []
    kept: list[int] = []
    problems: list[str] = []
    for i, outcome in enumerate(outcomes):
        if isinstance(outcome, DataError):
            problems.append(f"{where(i)}: {outcome}")
        elif outcome.shape != usual:
            problems.append(f"{where(i)}: is {_shape(outcome.shape)}, most others are {_shape(usual)}")
        else:
            good.append(outcome)
            kept.append(i)
    if problems and (on_bad_sample == "error" or not good):
        shown = "".join(f"\n  - {problem}" for problem in problems[:_SHOWN])
        more = f"\n  - and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        advice = "; data.on_bad_sample = 'skip' leaves them out" if good else ""
        raise DataError(f"{len(problems)} of {len(outcomes)} images cannot be used{advice}:{shown}{more}")
    images = np.stack(good) if good else np.zeros((0, 1, 1, 1), dtype=np.uint8)
    return images, np.array(kept, dtype=np.int64), tuple(problems)


def _attempt(channels: int | None, source: bytes | Path | None) -> Images | DataError:
    try:
        return decode(source.read_bytes() if isinstance(source, Path) else source, channels)
    except OSError as error:
        return DataError(f"cannot be read ({_one_line(error)})")
    except DataError as error:
        if isinstance(error.__cause__, ImportError):  # a package is missing: nobody's bad sample
            raise
        return error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shape(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{height}x{width} {'grey' if channels == 1 else 'colour'}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
