"""Pictures, each of one class."""

import base64
import io
import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator
from torch import Tensor

from torchsid.durable import file_sha256
from torchsid.errors import DataError, printable, unknown_name
from torchsid.packages import require
from torchsid.settings import CountOrZero, NotNegative, Share
from torchsid.tasks.domain import PARTS, About, Samples, Splits, Task
from torchsid.tasks.images import hub, noise
from torchsid.tasks.images.augmentation import Augmentation, AugmentConfig
from torchsid.tasks.images.datasets import DATASETS, HUB_PREFIX
from torchsid.tasks.images.decode import read_image
from torchsid.tasks.images.folders import images_below
from torchsid.tasks.images.noise import NoiseConfig
from torchsid.tasks.images.raw import RawPart, RawSet, empty_classes, sums_of
from torchsid.tasks.images.request import Request
from torchsid.tasks.splitting import Labels, first, hold_out
from torchsid.tasks.stored import Draws, Stored


def _known(name: str) -> str:
    """Return the name of a data set that may exist; see `Images.name`."""
    if name.startswith(HUB_PREFIX):
        if not name.removeprefix(HUB_PREFIX).strip("/ "):
            raise ValueError(f"name = {name!r} lacks the name: write hub:OWNER/NAME")
    elif ":" not in name and name not in DATASETS.names():
        raise ValueError(unknown_name("data set", name, [*DATASETS.names(), "hub:OWNER/NAME"]))
    return name


@dataclass(frozen=True, kw_only=True)
class Images(Task):
    """Images `[N, channels, S, S]`, uint8, each of one class; square.

    The validation part is cut from the training set after label noise, since with noisy labels there are no clean ones to
    validate with; its `clean_target` has them here. The test part never gets noise.

    Raises:
        ValueError: the data set's name is unknown.
    """

    name: Annotated[str, AfterValidator(_known)] = "digits"
    """A name of `torchsid list data`, `hub:OWNER/NAME`, or `package.module:function`."""
    path: str = ""
    """Folder of the files; not needed for `digits`. For `hub:` an optional folder for what is downloaded."""
    validation: Share = 0.1
    """Share of the training set that is held out, the same in every class; 0 holds out nothing. Ignored if the data have a
    validation part."""
    on_bad_sample: Literal["error", "skip"] = "error"
    """An image that cannot be decoded, or of another size than the rest: stop, or leave it out and say so."""
    size: CountOrZero = 0
    """Side of every image in pixels: resized so that its shorter side fits, then cropped at the centre; 0 leaves images as they
    are."""
    files: str = ""
    """For `folder`: a list of its images, such as `train.txt`, or a CSV file with the columns `path`, `label` and `split`; by
    default the folders' names are the classes."""
    cache: str = ""
    """Folder for decoded images; empty is `$XDG_CACHE_HOME/torchsid` or `~/.cache/torchsid`. `off` decodes on the fly, for each
    batch."""
    memory: NotNegative | Literal["auto"] = "auto"
    """GiB of training images to keep in memory if they fit; else each batch is read. `auto` is a quarter of the machine's
    memory."""
    workers: CountOrZero | Literal["auto"] = "auto"
    """Processes that decode on the fly; `auto` is one for each available core, 0 decodes in this process."""
    window: CountOrZero = 0
    """For files of many images: read a few files at a time, for slow disks, and for Parquet on the fly. Files, or their groups
    of rows, are shuffled, then images within a window of this size. 0 shuffles all together."""
    stream: bool = False
    """For `hub:`: read the data set once, as a stream, into the cache, instead of downloading its files. An interrupted stream
    continues."""
    limit: CountOrZero = 0
    """Use only the first `limit` training images, the same share of every class, validation included; 0 uses all."""
    channels_last: bool = False
    """Keep images and convolutions in channels-last memory format: faster convolutions on most machines."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Wrong labels in the training set."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """What is done to the images of a training batch."""

    read_elsewhere: ClassVar[tuple[str, ...]] = ()
    """See `Request.read_elsewhere`; a task that has more than images says them."""

    def __post_init__(self) -> None:
        _known(self.name)

    @property
    def memory_format(self) -> torch.memory_format:  # type: ignore[override]
        """Channels last or contiguous."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def memory_bytes(self) -> int:
        """Up to how many bytes of training inputs are kept in memory."""
        return super().memory_bytes if self.memory == "auto" else int(self.memory * 2**30)

    @property
    def blends_samples(self) -> bool:
        """Whether mixup or cutmix is on."""
        return bool(self.augment.mixup or self.augment.cutmix)

    @property
    def smallest_crop(self) -> float:
        """See `AugmentConfig.random_resized_crop`."""
        return self.augment.random_resized_crop

    def load(self, seed: int) -> Splits:
        """Read the data set, add the noise, hold out the validation part.

        The validation part depends on `seed` (and not on the noise), the noise on `noise.seed` alone.
        """
        raw = self._read()
        raw = replace(raw, class_names=tuple(map(printable, raw.class_names)), skipped=tuple(map(printable, raw.skipped)))
        raw.check(self.name)
        noisy = noise.noisy_labels(self.noise, self._request, raw.train, raw.class_names)
        kept, held_out = _cut(self, raw, seed)
        parts = {"train": _samples(raw.train, noisy, kept), "validation": _samples(raw.train, noisy, held_out)}
        own = {name: part for name, part in (("validation", raw.validation), ("test", raw.test)) if part is not None}
        parts |= {name: _samples(part, part.labels, np.arange(len(part.labels))) for name, part in own.items()}
        files = dict(raw.files)
        if self.noise.kind == "column":
            path = noise.labels_file(self.noise, self._request)
            files[path.name] = file_sha256(path)
        train, validation, test = (parts[name] for name in PARTS)
        return Splits(
            train,
            validation,
            test,
            self._about(raw, kept, noise.measure(self.noise, raw.train.labels, noisy, raw.class_names)),
            fingerprint=files | {f"arrays/{name}": part.sha256(raw.key) for name, part in parts.items()},
            skipped=raw.skipped,
        )

    def example(self, about: About) -> Tensor:
        """Return black images `[2, channels, S, S]`."""
        return torch.zeros(2, about["channels"], about["image_size"], about["image_size"])

    def prepare(self, inputs: Tensor, about: About) -> Tensor:
        """Return uint8 images normalised, float32, or only scaled to [0, 1] without `augment.normalise`."""
        return self._augmentation(about).finish(inputs)

    def draw(self, count: int, about: About, generator: torch.Generator) -> Draws:
        """Return what is random in the augmentation of a batch; see `Augmentation.draw`."""
        return self._augmentation(about).draw(count, (about["image_size"],) * 2, generator)

    def training_batch(self, samples: Samples, about: About, draws: Draws) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return augmented images with their labels; under mixup or cutmix rows `[B, C]`."""
        return (*self._augmentation(about)(samples.inputs[:], samples.target[:], draws), samples.weight)

    def show(self, inputs: Tensor, about: About) -> str:
        """Return an image as a PNG within the page, at most 128 pixels a side; the pixels of a small one are squares."""
        pillow = require("PIL.Image", extra="report", purpose="showing images")
        pixels = inputs[0] if len(inputs) == 1 else inputs[:3].movedim(0, -1)
        image = pillow.fromarray(pixels.contiguous().numpy())
        style = ' style="image-rendering: pixelated"' if max(image.size) <= 64 else ""
        image.thumbnail((128, 128), pillow.Resampling.BOX)
        file = io.BytesIO()
        image.save(file, format="png")
        return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"{style}>'

    def readable(self, folder: Path) -> tuple[list[Path], list[str]]:
        """Return the images in a folder and in all folders in it."""
        return images_below(folder)

    def read(self, name: str, about: About) -> Tensor:
        """Return an image file, resized and cropped to the size that the network reads, uint8 `[1, channels, S, S]`."""
        return read_image(name, about["channels"], about["image_size"]).unsqueeze(0)

    def _augmentation(self, about: About) -> Augmentation:
        return Augmentation(self.augment, tuple(about["mean"]), tuple(about["std"]), about["num_classes"])

    def _read(self) -> RawSet:
        if self.name.startswith(HUB_PREFIX):
            return hub.read(self._request)
        if self.stream:
            raise DataError(f"data.stream is for data.name = 'hub:…', not for {self.name!r}: leave it out")
        raw: RawSet = DATASETS.load(self.name)(self._request)
        if self.files and self.name != "folder":
            raise DataError(f"data.files = {self.files!r} is for data.name = 'folder', not for {self.name!r}: leave it out")
        if self.size and raw.train.images.shape[2:] != (self.size, self.size):
            raise DataError(f"data.size = {self.size} is for data.name = 'folder' or 'hub:…', not for {self.name!r}: leave it out")
        return raw

    @property
    def _request(self) -> Request:
        return Request(**{entry.name: getattr(self, entry.name) for entry in fields(Request)})

    def _about(self, raw: RawSet, kept: Labels, measured: dict[str, object]) -> About:
        _, channels, height, width = raw.train.images.shape
        if height != width:
            shape = f"{height}x{width} pixels (height x width)"
            raise DataError(f"the images of {self.name} are {shape}; only square images can be trained on: set data.size")
        mean, std = _statistics(raw.train, kept)
        return {
            "name": self.name,
            "num_classes": len(raw.class_names),
            "class_names": list(raw.class_names),
            "channels": channels,
            "image_size": height,
            "mean": mean,
            "std": std,
            "noise": measured,
        }


def _cut(task: Images, raw: RawSet, seed: int) -> tuple[Labels, Labels]:
    """Return the indices to train on and to validate with; by clean labels, so that noise moves no sample."""
    labels, classes = raw.train.labels, len(raw.class_names)
    if task.limit > len(labels):
        raise DataError(f"data.limit = {task.limit}, but {task.name} has only {len(labels)} training images")
    pool = first(labels, task.limit, classes) if task.limit else np.arange(len(labels))
    kept, held_out = hold_out(labels[pool], 0.0 if raw.validation else task.validation, classes, seed)
    if problems := empty_classes(labels[pool][kept], raw.class_names):
        raise DataError(f"data.limit = {task.limit} and data.validation = {task.validation} leave too little: {problems[0]}")
    return pool[kept], pool[held_out]


def _samples(part: RawPart, labels: Labels, index: Labels) -> Samples:
    whole = len(index) == len(part.labels)  # then a copy of all the images is avoided
    target, clean, rows = (_tensor(array if whole else array[index]) for array in (labels, part.labels, part.rows))
    if isinstance(part.images, Stored):
        inputs: Tensor | Stored = part.images.subset(torch.from_numpy(index))
    else:
        inputs = _tensor(part.images if whole else part.images[index])
    return Samples(inputs, target, clean_target=clean, rows=rows, names=part.names and part.names[index].printable())


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _statistics(part: RawPart, index: Labels) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, from the sums of all images that have been added up."""
    sums = part.sums
    if sums is None:
        assert not isinstance(part.images, Stored)
        sums = sums_of(part.images)
    sums = sums[index]
    sums = sums[sums[:, 0, 0] >= 0]
    pixels = len(sums) * part.images.shape[2] * part.images.shape[3]
    means, stds = [], []
    for total, squares in sums.sum(0).tolist():  # whole numbers, of any size
        means.append(total / (255 * pixels))
        stds.append(math.sqrt(pixels * squares - total**2) / (255 * pixels))
    if constant := [str(channel) for channel, std in enumerate(stds) if std == 0.0]:
        raise DataError(f"all training images are the same in channel {', '.join(constant)}: nothing can be learnt from it")
    return means, stds
