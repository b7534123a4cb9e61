"""A data set in memory: training, validation and test images as tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Images with their labels.

    Attributes:
        images: uint8 `[N, C, H, W]`.
        labels: int64 `[N]`, the labels to train on, with noise if any was asked for.
        clean_labels: int64 `[N]`, the labels as the data set gives them.
        rows: int64 `[N]`, the row of the data set's own file, from 0, that each image was read from; several files count on, and
            where the test part is cut from the same file, both are counted together.
    """

    images: Tensor
    labels: Tensor
    clean_labels: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "ImageSet":
        """Return the samples at `index` (int64 `[n]`)."""
        return ImageSet(self.images[index], self.labels[index], self.clean_labels[index], self.rows[index])


@dataclass(frozen=True)
class DataSplits:
    """A data set, ready to train on.

    The validation part is cut from the training set after label noise, since whoever has noisy labels has no
    clean ones to validate with; `validation.clean_labels` has them here. The test part never gets noise.

    Attributes:
        name: the data set's name.
        train: what is trained on.
        validation: held out from the training set; may be empty.
        test: the data set's own test set.
        class_names: one name a class.
        mean: per channel, over the training part, of images scaled to [0, 1].
        std: standard deviation, likewise.
        fingerprint: SHA-256 of every file read, and of images and labels as `arrays/train`, `arrays/validation`,
            `arrays/test`.
        noise: kind, asked rate, seed, measured `share` of changed labels in the whole training set, and
            `transitions`: how many labels of a class became which other class.
        skipped: what was left out and why, a sentence each.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: Mapping[str, str]
    noise: Mapping[str, object]
    skipped: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """The number of classes, C."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.train.images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.train.images.shape[2], self.train.images.shape[3])
