"""Images as a task: from a data set's files to samples, batches and what a page shows."""

import base64
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from torchsid.errors import DataError
from torchsid.tasks import Samples, Splits
from torchsid.tasks.domain import generator_at
from torchsid.tasks.images import AugmentConfig, Images, NoiseConfig, RawPart, RawSet, Request, hub

from .conftest import png

SYMMETRIC = NoiseConfig(kind="symmetric", rate=0.4)


def load(seed: int = 0, **values: Any) -> Splits:
    return Images(**values).load(seed)


def parts(splits: Splits) -> tuple[Samples, Samples, Samples]:
    return splits.train, splits.validation, splits.test


def test_shapes_types_and_sizes() -> None:
    splits = load(validation=0.25)
    assert [len(part) for part in parts(splits)] == [1082, 360, 355]
    for part in parts(splits):
        assert (part.inputs.dtype, part.target.dtype, part.clean_target.dtype) == (torch.uint8, torch.int64, torch.int64)
        assert part.inputs.is_contiguous()
    about = splits.about
    assert (about["num_classes"], about["channels"], about["image_size"], about["class_names"][3]) == (10, 1, 8, "3")
    empty = load(validation=0.0)
    assert (len(empty.train), len(empty.validation), empty.validation.inputs.shape) == (1442, 0, (0, 1, 8, 8))


@pytest.mark.parametrize("noise", [SYMMETRIC, NoiseConfig(kind="asymmetric", rate=0.4), NoiseConfig(kind="pair", rate=0.4)])
def test_validation_has_noisy_labels_and_keeps_the_clean_ones_and_the_test_set_has_none(noise: NoiseConfig) -> None:
    for which, one, two in zip((0, 1, 2), parts(load(validation=0.3)), parts(load(validation=0.3, noise=noise)), strict=True):
        assert torch.equal(one.inputs, two.inputs)
        assert torch.equal(one.target, two.clean_target)
        changed = (two.target != two.clean_target).float().mean().item()
        assert changed == 0 if which == 2 else 0.1 < changed < 0.5


def test_the_split_depends_on_the_seed_only_and_the_noise_on_its_own() -> None:
    base, other = load(noise=SYMMETRIC), load(1, noise=SYMMETRIC)
    for same in (load(), load(noise=NoiseConfig(kind="pair", rate=0.5, seed=9))):
        assert torch.equal(base.validation.rows, same.validation.rows)
    assert not torch.equal(base.validation.rows, other.validation.rows)
    assert base.about["noise"] == other.about["noise"]
    assert base.about["noise"] != load(noise=NoiseConfig(kind="symmetric", rate=0.4, seed=1)).about["noise"]


def test_fingerprints_tell_what_changed() -> None:
    base = load(noise=SYMMETRIC).fingerprint
    assert base == load(noise=SYMMETRIC).fingerprint
    for other in (load(1, noise=SYMMETRIC).fingerprint, load().fingerprint):
        assert base["arrays/train"] != other["arrays/train"]
        assert base["arrays/test"] == other["arrays/test"]


def test_rows_find_every_image_in_its_file(digits: RawSet) -> None:
    images, labels = np.empty((1797, 1, 8, 8)), np.empty(1797)
    for raw in (digits.train, digits.test):
        images[raw.rows], labels[raw.rows] = raw.images, raw.labels
    for part in parts(load(limit=500, noise=SYMMETRIC)):
        assert np.array_equal(part.inputs.numpy(), images[part.rows.numpy()])
        assert np.array_equal(part.clean_target.numpy(), labels[part.rows.numpy()])


def test_samples_have_the_names_of_their_files_safe_to_write(tmp_path: Path) -> None:
    for name in (b"caf\xe9", "𠮷\u202e\n".encode()):  # Latin-1; beyond 16 bits, turned round, two lines
        folder = tmp_path / "train" / os.fsdecode(name)
        folder.mkdir(parents=True)
        for i in range(10):
            (folder / os.fsdecode(b"%d \xff" % i)).with_suffix(".png").write_bytes(png(np.full((4, 4), i, dtype=np.uint8)))
    for _ in ("decoded", "from the cache"):
        splits = load(name="folder", path=str(tmp_path))
        assert splits.about["class_names"] == ["caf\\xe9", "𠮷\\u202e\\x0a"]
        for part in parts(splits):
            pixels = part.inputs[:][:, 0, 0, 0].tolist()
            assert part.names == tuple(
                f"train/{splits.about['class_names'][label]}/{i} \\xff.png"
                for label, i in zip(part.target.tolist(), pixels, strict=True)
            )
            assert all(name.encode() and name.isprintable() for name in part.names)
    assert load().train.names is None


def test_limit_takes_the_first_of_each_class(digits: RawSet) -> None:
    train = load(limit=100, validation=0.0).train
    assert (len(train), torch.bincount(train.target).min().item() >= 9) == (100, True)
    threes = train.inputs[train.target == 3].numpy()
    assert np.array_equal(threes, digits.train.images[digits.train.labels == 3][: len(threes)])
    assert len(load(limit=100, validation=0.2).train) == 80


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit": 5000}, "only 1442 training images"),
        ({"limit": 4}, "classes have no training"),
        ({"validation": 0.999}, "too little"),
        ({"name": "mnits"}, r"unknown data set .*did you mean 'mnist'"),
        ({"name": "hub:"}, "hub:OWNER/NAME"),
        ({"size": 5}, r"data\.size = 5 is for"),
        ({"files": "a.csv"}, r"data\.files = 'a\.csv' is for"),
    ],
)
def test_what_cannot_be_had_is_an_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(**values)


def test_skipped_samples_are_reported_and_a_file_of_labels_is_fingerprinted(mnist_folder: Path) -> None:
    path = mnist_folder / "mnist-train.parquet"
    path.write_bytes(path.read_bytes().replace(b"IHDR", b"IHDX", 1))
    parquet.write_table(pa.table({"mine": np.arange(150) % 10}), mnist_folder / "labels.parquet")
    noise = NoiseConfig(kind="column", column="mine", file="labels.parquet")
    splits = load(name="mnist", path=str(mnist_folder), on_bad_sample="skip", noise=noise)
    rows = torch.cat([splits.train.rows, splits.validation.rows]).tolist()
    assert f"mnist-train.parquet, row {(set(range(150)) - set(rows)).pop()}:" in "\n".join(splits.skipped)
    assert len(splits.fingerprint["labels.parquet"]) == 64


@pytest.mark.parametrize(("shape", "message"), [((1, 4, 4), "the same in channel 0"), ((1, 4, 5), "4x5 pixels .* only square")])
def test_images_that_cannot_be_trained_on(shape: tuple[int, ...], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part = RawPart.complete(np.zeros((20, *shape), dtype=np.uint8), np.arange(20) % 2)
    monkeypatch.setattr(hub, "read", lambda *_, **__: RawSet(train=part, test=part, class_names=("a", "b")))
    with pytest.raises(DataError, match=message):
        load(name="hub:a/b")


def test_the_hubs_sets_are_asked_for_by_repository(monkeypatch: pytest.MonkeyPatch, digits: RawSet) -> None:
    asked: list[Request] = []
    monkeypatch.setattr(hub, "read", lambda request: asked.append(request) or digits)
    assert len(load(name="hub:a/b", path="x", on_bad_sample="skip").test) == 355
    assert [(each.name, each.path, each.on_bad_sample) for each in asked] == [("hub:a/b", "x", "skip")]


def test_a_batch_is_normalised_and_in_training_augmented() -> None:
    task = Images(augment=AugmentConfig(crop=2, mixup=0.5))
    splits = task.load(0)
    x = task.prepare(splits.train.inputs, splits.about).double()
    assert x.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert x.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)
    assert task.example(splits.about).shape == (2, *x.shape[1:])
    samples, generator = splits.train.take(slice(5)), generator_at("step", 0, 0, 0)
    augmented, target, weight = task.training_batch(samples, splits.about, task.draw(5, splits.about, generator))
    assert (augmented.shape, target.shape, weight) == ((5, 1, 8, 8), (5, 10), None)
    assert task.blends_samples
    plain = Images(augment=AugmentConfig(normalise=False))
    assert not plain.blends_samples
    assert plain.load(0).about["mean"] == splits.about["mean"]  # the colour of cutout
    assert torch.equal(plain.prepare(samples.inputs, splits.about), samples.inputs / 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_page_shows_the_very_pixels_and_a_file_is_read_back(channels: int, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (channels, 6, 6), dtype=torch.uint8)
    found = Images().show(pixels, {}).partition("base64,")[2].partition('"')[0]
    (tmp_path / "shown.png").write_bytes(base64.b64decode(found))
    about = {"channels": channels, "image_size": 6}
    assert torch.equal(Images().read(str(tmp_path / "shown.png"), about), pixels.unsqueeze(0))


def test_the_packages_own_digits_need_no_other_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("pyarrow", "PIL", "datasets", "matplotlib", "scipy"):
        monkeypatch.setitem(sys.modules, package, None)
    assert len(load().test) == 355
