"""From a configuration to tensors: read, check, add noise, limit, split, describe."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from torchsid.errors import DataError
from torchsid.tasks.images import noise, sets, stratify, validate
from torchsid.tasks.images.config import DataConfig
from torchsid.tasks.images.raw import Labels, RawPart, RawSet
from torchsid.tasks.images.splits import DataSplits, ImageSet


def load(config: DataConfig, *, seed: int) -> DataSplits:
    """Load a data set.

    The validation part depends on `seed` (and not on the noise), the noise on `config.noise.seed` alone.

    Args:
        config: which data set, and what to do with it.
        seed: chooses the samples that are held out for validation.

    Raises:
        DataError: the files are missing or damaged, or the data do not fit the request.
    """
    raw = sets.read(config)
    validate.check(raw, config.name)
    noisy = noise.noisy_labels(config, raw.train, raw.class_names)
    measured = noise.measure(config.noise, raw.train.labels, noisy, raw.class_names)
    kept, held_out = _cut(config, raw, seed)

    train, validation = _image_set(raw.train, noisy, kept), _image_set(raw.train, noisy, held_out)
    test = _image_set(raw.test, raw.test.labels, np.arange(len(raw.test.labels)))
    mean, std = _statistics(train.images.numpy())
    files = dict(raw.files)
    if config.noise.kind == "column":
        files[noise.labels_file(config).name] = sets.file_sha256(noise.labels_file(config))
    parts = {"train": train, "validation": validation, "test": test}
    return DataSplits(
        name=config.name,
        train=train,
        validation=validation,
        test=test,
        class_names=raw.class_names,
        mean=mean,
        std=std,
        fingerprint=files | {f"arrays/{name}": _digest(part) for name, part in parts.items()},
        noise=measured,
        skipped=raw.skipped,
    )


def _cut(config: DataConfig, raw: RawSet, seed: int) -> tuple[Labels, Labels]:
    """Return the indices to train on and to validate with; by clean labels, so that noise moves no sample."""
    labels, classes = raw.train.labels, len(raw.class_names)
    if config.limit > len(labels):
        raise DataError(f"data.limit = {config.limit}, but {config.name} has only {len(labels)} training images")
    pool = stratify.first(labels, config.limit, classes) if config.limit else np.arange(len(labels))
    kept, held_out = stratify.hold_out(labels[pool], config.validation, classes, seed)
    if problems := validate.empty_classes(labels[pool][kept], raw.class_names):
        raise DataError(f"data.limit = {config.limit} and data.validation = {config.validation} leave too little: {problems[0]}")
    return pool[kept], pool[held_out]


def _image_set(part: RawPart, labels: Labels, index: Labels) -> ImageSet:
    whole = len(index) == len(part.labels)  # then a copy of all the images is avoided
    arrays = (array if whole else array[index] for array in (part.images, labels, part.labels, part.rows))
    return ImageSet(*(torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in arrays))


def _statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, exact: from the histogram of its 256 values."""
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        histogram = np.zeros(256, dtype=np.int64)
        for start in range(0, len(images), 1024):
            histogram += np.bincount(images[start : start + 1024, channel].ravel(), minlength=256)
        share = histogram / histogram.sum()
        means.append(float(share @ values))
        stds.append(float(np.sqrt(share @ (values - means[-1]) ** 2)))
    if constant := [channel for channel, std in enumerate(stds) if std == 0.0]:
        raise DataError(f"all training images are the same in channel {constant}: nothing can be learnt from it")
    return tuple(means), tuple(stds)


def _digest(part: ImageSet) -> str:
    digest = hashlib.sha256(repr(tuple(part.images.shape)).encode())
    for tensor in (part.images, part.labels):
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
