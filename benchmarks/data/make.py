"""Make a data set of images to measure reading with: JPEGs whose sizes are those of photographs, the same for the same seed.

    python benchmarks/data/make.py DIR --images 1281 --classes 100 --validation 200         # a thousandth of ImageNet: a folder
    python benchmarks/data/make.py DIR --images 1281167 --side 64 --layout tars --distinct 20000    # as many as ImageNet, small

An image is a piece of a texture of many scales in the colour of its class: no two are alike, each takes about as many bytes as a
photograph, and a network can learn to tell the classes apart. With `--distinct` images repeat after so many, which is quicker.
"""

import argparse
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TEXTURE = 2048  # pixels a side
SCALES = {64: 60, 16: 30, 4: 18, 1: 10}  # size of a grain in pixels: how far it departs from grey
QUALITY = 90  # of JPEG
PHOTOGRAPH = (375, 500)  # pixels high and wide, on average
SHARD = 5_000  # images

Encoded = Iterator[tuple[int, int, bytes]]
"""Number, class and JPEG of some images."""


@dataclass(frozen=True)
class Part:
    """Some images of a data set, which are written at once."""

    folder: Path
    name: str
    """`train` or `val`."""
    shard: int
    first: int
    """Number of the first image."""
    count: int
    classes: int
    side: int
    """Of square images, in pixels; 0: photographs of different sizes."""
    distinct: int
    """Images after which they repeat; 0: never."""
    seed: int

    def encoded(self) -> Encoded:
        """Yield the images."""
        for number in range(self.first, self.first + self.count):
            label, drawn = number % self.classes, number % self.distinct if self.distinct else number
            yield number, label, jpeg(self.seed, len(self.name), drawn, label, self.side)


@lru_cache(maxsize=50_000)
def jpeg(seed: int, part: int, number: int, label: int, side: int) -> bytes:
    """Return an image, a function of the arguments."""
    random = np.random.default_rng([seed, part, number])
    low, high = (1.0, 1.0) if side else (0.7, 1.3)
    height, width = (round(usual * random.uniform(low, high)) for usual in ((side, side) if side else PHOTOGRAPH))
    top, left = random.integers(0, (TEXTURE - height, TEXTURE - width))
    file = io.BytesIO()
    pixels = texture(seed)[top : top + height, left : left + width] + colour(seed, label)
    Image.fromarray(pixels).save(file, "jpeg", quality=QUALITY)
    return file.getvalue()


@cache
def colour(seed: int, label: int) -> NDArray[np.uint8]:
    """Return the colour of a class, uint8 `[3]`, from 0 to 127."""
    return np.random.default_rng([seed, label]).integers(0, 128, 3, dtype=np.uint8)


@cache
def texture(seed: int) -> NDArray[np.uint8]:
    """Return noise of several scales, uint8 `[TEXTURE, TEXTURE, 3]`, from 0 to 127."""
    random, field = np.random.default_rng([seed, TEXTURE]), np.full((TEXTURE, TEXTURE, 3), 64.0, dtype=np.float32)
    for grain, strength in SCALES.items():
        side = TEXTURE // grain
        for channel in range(3):
            noise = Image.fromarray(random.normal(0, strength, (side, side)).astype(np.float32))
            field[:, :, channel] += np.asarray(noise.resize((TEXTURE, TEXTURE), Image.Resampling.BILINEAR))
    return field.clip(0, 127).astype(np.uint8)


def folder(part: Part) -> None:
    """Write `train/class-007/train-0000012.jpg`."""
    for number, label, data in part.encoded():
        path = part.folder / part.name / f"class-{label:03}" / f"{part.name}-{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def tars(part: Part) -> None:
    """Write `train-0012.tar` in the layout of WebDataset: `0000012.jpg`, `0000012.cls`."""
    with tarfile.open(part.folder / f"{part.name}-{part.shard:04}.tar", "w") as tar:
        for number, label, data in part.encoded():
            for suffix, content in (("jpg", data), ("cls", str(label).encode())):
                about = tarfile.TarInfo(f"{number:07}.{suffix}")
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))


def parquet(part: Part) -> None:
    """Write `train-0012.parquet` as the Hugging Face hub has it: `image.bytes`, `image.path`, `label`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers, labels, images = zip(*part.encoded(), strict=True)
    column = [{"bytes": data, "path": f"{number:07}.jpg"} for number, data in zip(numbers, images, strict=True)]
    table = pa.table({"image": column, "label": pa.array(labels, pa.int64())})
    pq.write_table(table, part.folder / f"{part.name}-{part.shard:04}.parquet", row_group_size=500)


LAYOUTS: dict[str, Callable[[Part], None]] = {"folder": folder, "tars": tars, "parquet": parquet}


def make(where: Path, *, images: int, validation: int = 0, classes: int, layout: str = "folder", **look: int) -> None:
    """Write a data set with all cores; see `Part`, whose `side`, `distinct` and `seed` are `look`.

    Raises:
        ValueError: images repeat before every class had one.
    """
    if look["distinct"] % classes:
        raise ValueError(f"distinct={look['distinct']} must be a multiple of the {classes} classes")
    where.mkdir(parents=True, exist_ok=True)
    part = partial(Part, where, classes=classes, **look)
    parts = [
        part(name, shard, first, min(SHARD, count - first))
        for name, count in (("train", images), ("val", validation))
        for shard, first in enumerate(range(0, count, SHARD))
    ]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(LAYOUTS[layout], parts):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--images", type=int, required=True, metavar="N", help="to train on")
    parser.add_argument("--validation", type=int, default=0, metavar="N", help="beside them")
    parser.add_argument("--classes", type=int, default=1000, metavar="C")
    parser.add_argument("--side", type=int, default=0, metavar="S", help="pixels; 0: photographs of about 500 x 375")
    parser.add_argument("--distinct", type=int, default=0, metavar="N", help="images after which they repeat; 0: never")
    parser.add_argument("--layout", choices=LAYOUTS, default="folder")
    parser.add_argument("--seed", type=int, default=0)
    given = vars(parser.parse_args())
    make(given.pop("folder"), **given)


if __name__ == "__main__":
    main()
