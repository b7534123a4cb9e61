"""Ways to read the images of a folder: this project's, and the usual ones, each as a plain loop would be written with it.

A contender gives the batches of an epoch, shuffled and augmented, to the same step; a stack closes what it keeps in between.
"""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from torchsid.tasks.images import AugmentConfig, Images
from torchsid.tasks.images.decoder import Decoder
from torchsid.tasks.stored import Stored
from torchsid.training.batches import Batches, on_device
from torchsid.training.config import TrainingConfig

Step = Callable[[Tensor, Tensor], None]
"""Trains on images, float32 `[B, 3, S, S]`, and classes."""
Epoch = Callable[[int, Step], int]
"""Gives the batches of an epoch, by number, to a step, and returns how many images they had."""

CPU = torch.device("cpu")
SMALLEST_CROP = 0.08
MEAN, STD = 0.45, 0.25


@dataclass(frozen=True)
class Folder:
    """What is read, and how."""

    path: str
    """Has `train/<class>/` and `val/<class>/`, or shards, as `data.name` and `data.path` have it."""
    side: int
    """Of the images that a network gets, in pixels."""
    crops: bool
    """Whether they are random boxes of the originals; else these have that side."""
    cache: str
    name: str = "folder"
    batch_size: int = 128
    workers: int = 2


def loaded(folder: Folder, **how: Any) -> Batches:
    """Return the batches of a run of this project."""
    augment = AugmentConfig(flip=True, random_resized_crop=SMALLEST_CROP if folder.crops else 0.0)
    about = {"name": folder.name, "path": folder.path, "size": folder.side if folder.crops else 0, "cache": folder.cache}
    task = Images(**{**about, "validation": 0.0, "augment": augment, **how})
    splits = task.load(0)
    training = TrainingConfig(batch_size=folder.batch_size)
    resident = on_device(splits.train, CPU, task.memory_bytes)
    return Batches(task=task, splits=splits, training=training, device=CPU, resident=resident)


def trained(batches: Batches, epoch: int, step: Step, first: int = 0, last: int | None = None) -> int:
    """Take the steps of an epoch, or some of them."""
    count = 0
    for number, batch in enumerate(batches.of_epoch(epoch, first), first):
        examples = batches.examples(batch)
        step(examples.x, examples.target)
        count += len(examples.x)
        if number + 1 == last:
            break
    return count


def ours(folder: Folder, stack: ExitStack, **how: Any) -> Epoch:
    """Return how a run of this project reads."""
    batches = loaded(folder, **how)
    stack.callback(batches.close)
    return lambda epoch, step: trained(batches, epoch, step)


def delivered(folder: Folder, stack: ExitStack) -> Epoch:
    """Return how fast decoded batches come if nobody mirrors, normalises or trains."""
    batches = loaded(folder, cache="off", memory=0, workers=folder.workers)
    stack.callback(batches.close)
    return lambda epoch, _: sum(len(batch.samples) for batch in batches.of_epoch(epoch))


def decoders(folder: Folder, stack: ExitStack) -> Epoch:
    """Return what processes decode of the same crops if nobody trains and nothing is handed over."""
    inputs = loaded(folder, cache="off", workers=0).splits.train.inputs
    assert isinstance(inputs, Stored)
    assert isinstance(inputs.reader, Decoder)
    reader = replace(inputs.reader, workers=0)
    pool = stack.enter_context(ProcessPoolExecutor(folder.workers, get_context("fork")))

    def epoch(number: int, _: Step) -> int:
        shuffled = inputs.rows[torch.randperm(len(inputs), generator=torch.Generator().manual_seed(number))]
        return sum(pool.map(_decoded, repeat(reader), shuffled.split(folder.batch_size)))

    return epoch


def _decoded(reader: Decoder, rows: Tensor) -> int:
    draws = torch.rand(len(rows), 4).numpy() if reader.smallest_crop else None
    reader.fill(torch.empty(len(rows), *reader.shape, dtype=torch.uint8), (rows.numpy(), draws))
    return len(rows)


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """What torchvision's class of this name does, with its transforms: files, random crops, a flip, floats."""

    def __init__(self, folder: Folder) -> None:
        classes = sorted(path for path in Path(folder.path, "train").iterdir() if path.is_dir())
        self.samples = [(str(path), label) for label, each in enumerate(classes) for path in sorted(each.iterdir())]
        self.folder = folder

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        path, label = self.samples[i]
        with Image.open(path) as image:
            return transformed(image, self.folder), label


def transformed(image: Image.Image, folder: Folder) -> Tensor:
    """Return an image as a network reads it: `RandomResizedCrop`, `RandomHorizontalFlip`, `ToTensor`, `Normalize`."""
    image = image.convert("RGB")
    if folder.crops:
        image = image.resize((folder.side, folder.side), Image.Resampling.BILINEAR, box=_box(*image.size))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return pixels.float().div_(255).sub_(MEAN).div_(STD)


def _box(width: int, height: int) -> tuple[int, int, int, int]:
    for _ in range(10):
        area = width * height * random.uniform(SMALLEST_CROP, 1)
        ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        across, down = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if across <= width and down <= height:
            left, top = random.randint(0, width - across), random.randint(0, height - down)
            return left, top, left + across, top + down
    return 0, 0, width, height


def plain(dataset: Any, folder: Folder, stack: ExitStack) -> Epoch:
    """Return a `DataLoader` as everybody writes it."""
    loader: DataLoader[Any] = DataLoader(
        dataset, folder.batch_size, shuffle=True, num_workers=folder.workers, persistent_workers=True, drop_last=False
    )

    stack.callback(lambda: loader._iterator and loader._iterator._shutdown_workers())

    def epoch(_: int, step: Step) -> int:
        count = 0
        for x, target in loader:
            step(x, target)
            count += len(x)
        return count

    return epoch


def image_folder(folder: Folder, stack: ExitStack) -> Epoch:
    """Return the folder by `ImageFolder` and `DataLoader`."""
    return plain(ImageFolder(folder), folder, stack)


class Pairs(Dataset[tuple[Tensor, int]]):
    """Images of Hugging Face `datasets` with their labels; what processes are given must be picklable."""

    def __init__(self, made: Any, folder: Folder) -> None:
        self.made, self.folder = made, folder

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.__getitems__([i])[0]

    def __getitems__(self, index: list[int]) -> list[tuple[Tensor, int]]:
        rows = self.made[index]
        return [(transformed(image, self.folder), label) for image, label in zip(rows["image"], rows["label"], strict=True)]


def hugging_face(folder: Folder, stack: ExitStack) -> Epoch:
    """Return the folder by Hugging Face `datasets`, made once, and `DataLoader`.

    Raises:
        ImportError: it is not installed.
    """
    import datasets

    datasets.disable_progress_bars()
    where = {"data_dir": str(Path(folder.path, "train")), "cache_dir": f"{folder.cache}/datasets"}
    return plain(Pairs(datasets.load_dataset("imagefolder", split="train", **where), folder), folder, stack)


IN_MEMORY, STREAMED, ON_THE_FLY = "in memory", "cached, streamed", "on the fly"
DELIVERED, ALONE = "on the fly, without training", "decoders alone"
CONTENDERS: dict[str, Callable[[Folder, ExitStack], Epoch]] = {
    IN_MEMORY: ours,
    STREAMED: partial(ours, memory=0),
    ON_THE_FLY: lambda folder, stack: ours(folder, stack, cache="off", memory=0, workers=folder.workers),
    DELIVERED: delivered,
    ALONE: decoders,
    "ImageFolder + DataLoader": image_folder,
    "datasets + DataLoader": hugging_face,
}


def available(folder: Folder) -> Iterator[str]:
    """Yield the contenders that this machine has."""
    for name in CONTENDERS:
        try:
            if name.startswith("datasets"):
                import datasets  # noqa: F401
        except ImportError:
            continue
        yield name
