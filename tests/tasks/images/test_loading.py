from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchsid.tasks.images.digits import scaled
from torchsid.tasks.images.loading import load
from torchsid.tasks.images.splits import DataSplits

from torchsid.errors import DataError
from torchsid.tasks.images.config import DataConfig, NoiseConfig
from torchsid.tasks.images.raw import RawSet

NOISES = [
    NoiseConfig(),
    NoiseConfig(kind="symmetric", rate=0.4),
    NoiseConfig(kind="asymmetric", rate=0.4),
    NoiseConfig(kind="pair", rate=1.0),
]


def digits_with(seed: int = 0, **values: Any) -> DataSplits:
    return load(DataConfig(name="digits", **values), seed=seed)


def test_shapes_types_and_sizes() -> None:
    splits = digits_with(validation=0.25)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1082, 360, 355]
    for part in (splits.train, splits.validation, splits.test):
        assert (part.images.dtype, part.labels.dtype, part.clean_labels.dtype) == (torch.uint8, torch.int64, torch.int64)
        assert part.images.is_contiguous()
    assert (splits.num_classes, splits.channels, splits.image_size) == (10, 1, (8, 8))


def test_mean_and_std_are_those_of_the_training_part() -> None:
    splits = digits_with()
    scaled = splits.train.images.double() / 255
    assert splits.mean == pytest.approx([scaled.mean().item()], abs=1e-12)
    assert splits.std == pytest.approx([scaled.std(correction=0).item()], abs=1e-12)


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.kind)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_test_set_never_gets_noise(noise: NoiseConfig, seed: int, digits: RawSet) -> None:
    test = digits_with(seed, noise=noise, limit=500).test
    assert np.array_equal(test.labels.numpy(), digits.test.labels)
    assert np.array_equal(test.clean_labels.numpy(), digits.test.labels)
    assert np.array_equal(test.images.numpy(), digits.test.images)


def test_validation_has_noisy_labels_and_keeps_the_clean_ones() -> None:
    clean, noisy = (digits_with(validation=0.3, noise=noise) for noise in NOISES[:2])
    for part in ("train", "validation"):
        one, two = getattr(clean, part), getattr(noisy, part)
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.clean_labels)
        changed = (two.labels != two.clean_labels).float().mean().item()
        assert changed == pytest.approx(0.4, abs=0.1)


def test_the_split_depends_on_the_seed_only_and_the_noise_on_its_own() -> None:
    def rows(splits: DataSplits) -> set[bytes]:
        return {image.numpy().tobytes() for image in splits.validation.images}

    base = digits_with(noise=NOISES[1])
    assert rows(base) == rows(digits_with()) == rows(digits_with(noise=NoiseConfig(kind="pair", rate=0.5, seed=9)))
    assert rows(base) != rows(digits_with(seed=1))
    assert base.noise == digits_with(seed=1, noise=NOISES[1]).noise
    assert base.noise != digits_with(noise=NoiseConfig(kind="symmetric", rate=0.4, seed=1)).noise


def test_the_same_call_gives_the_same_bits() -> None:
    one, two, other = digits_with(noise=NOISES[1]), digits_with(noise=NOISES[1]), digits_with(seed=1)
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint["arrays/train"] != other.fingerprint["arrays/train"]
    assert one.fingerprint["arrays/test"] == other.fingerprint["arrays/test"]


def test_noise_changes_the_fingerprint_of_what_it_changes() -> None:
    clean, noisy = digits_with(), digits_with(noise=NOISES[1])
    assert clean.fingerprint["arrays/train"] != noisy.fingerprint["arrays/train"]
    assert clean.fingerprint["arrays/test"] == noisy.fingerprint["arrays/test"]


def test_rows_find_every_image_in_its_file() -> None:
    with resources.files("torchsid.tasks.images").joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
        images, labels = scaled(stored["images"])[:, None], stored["labels"]
    splits = digits_with(limit=500, noise=NOISES[1])
    for part in (splits.train, splits.validation, splits.test):
        rows = part.rows.numpy()
        assert rows.dtype == np.int64
        assert np.array_equal(part.images.numpy(), images[rows])
        assert np.array_equal(part.clean_labels.numpy(), labels[rows])


def test_without_validation_everything_is_trained_on() -> None:
    splits = digits_with(validation=0.0)
    assert (len(splits.train), len(splits.validation)) == (1442, 0)
    assert splits.validation.images.shape == (0, 1, 8, 8)


def test_limit_takes_the_first_of_each_class(digits: RawSet) -> None:
    splits = digits_with(limit=100, validation=0.0)
    counts = torch.bincount(splits.train.labels)
    assert counts.sum() == 100
    assert counts.min() >= 9
    threes = splits.train.images[splits.train.labels == 3].numpy()
    assert np.array_equal(threes, digits.train.images[digits.train.labels == 3][: len(threes)])
    assert len(digits_with(limit=100, validation=0.2).train) == 80


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit": 5000}, "only 1442 training images"),
        ({"limit": 4}, "classes have no training"),
        ({"validation": 0.999}, "too little"),
    ],
)
def test_asking_for_too_much_is_an_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        digits_with(**values)


def test_constant_images_are_an_error(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("L", (4, 4), color=9).save(tmp_path / "train" / name / f"{i}.png")
    with pytest.raises(DataError, match="the same in channel"):
        load(DataConfig(name="folder", path=str(tmp_path)), seed=0)


def test_skipped_samples_are_reported(mnist_folder: Path) -> None:
    splits = load(DataConfig(name="mnist", path=str(mnist_folder), on_bad_sample="skip"), seed=0)
    assert splits.skipped == ()
    path = mnist_folder / "mnist-train.parquet"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"IHDR", b"IHDX", 1))
    splits = load(DataConfig(name="mnist", path=str(mnist_folder), on_bad_sample="skip"), seed=0)
    assert len(splits.skipped) == 1
    assert "mnist-train.parquet, row" in splits.skipped[0]
    rows = torch.cat([splits.train.rows, splits.validation.rows]).sort().values
    assert set(range(150)) - set(rows.tolist()) == {int(splits.skipped[0].split("row ")[1].split()[0].strip(",:"))}
    assert len(splits.train) + len(splits.validation) == 149


def test_the_file_of_human_labels_is_fingerprinted(mnist_folder: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"mine": np.arange(150) % 10}), mnist_folder / "labels.parquet")
    noise = NoiseConfig(kind="column", column="mine", file="labels.parquet")
    splits = load(DataConfig(name="mnist", path=str(mnist_folder), noise=noise), seed=0)
    assert len(splits.fingerprint["labels.parquet"]) == 64


def test_real_mnist(shared: Path) -> None:
    splits = load(DataConfig(name="mnist", path=str(shared), validation=0.0), seed=0)
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)
    assert splits.mean == pytest.approx([0.1307], abs=5e-5)
    assert splits.std == pytest.approx([0.3081], abs=5e-5)
    assert splits.train.labels[:5].tolist() == [5, 0, 4, 1, 9]


def test_real_tiny_imagenet(shared: Path) -> None:
    splits = load(DataConfig(name="tiny-imagenet", path=str(shared)), seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (9000, 1000, 2000)
    assert (splits.num_classes, splits.channels, splits.image_size) == (200, 3, (64, 64))
    assert torch.bincount(splits.validation.labels).tolist() == [5] * 200
