import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from torchsid.errors import DataError
from torchsid.tasks.images import hub
from torchsid.tasks.images.raw import RawSet


class ClassLabel:
    def __init__(self, names: Sequence[str]) -> None:
        self.names = names


Image, Value = type("Image", (), {}), type("Value", (), {})  # stand for those of `datasets`, which are known by their names


class Dataset:
    def __init__(self, rows: Sequence[Mapping[str, Any]], features: Mapping[str, Any]) -> None:
        self.rows, self.features = rows, features

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return [row[key] for row in self.rows]
        if self.rows[key]["image"] == "damaged":
            raise OSError("image file is truncated")
        return self.rows[key]


FEATURES = {"image": Image(), "label": ClassLabel("0123456789"), "note": Value()}


def dataset(digits: RawSet, rows: slice, features: Mapping[str, Any] = FEATURES) -> Dataset:
    from PIL import Image as Pillow

    pairs = zip(digits.train.images[rows, 0], digits.train.labels[rows].tolist(), strict=True)
    return Dataset([{"image": Pillow.fromarray(image), "label": label, "note": ""} for image, label in pairs], features)


def test_images_labels_and_names_are_converted(digits: RawSet) -> None:
    splits = {"train": dataset(digits, slice(100)), "validation": dataset(digits, slice(100, 130))}
    raw = hub.convert(splits, name="hub:a/b", on_bad_sample="error")
    assert np.array_equal(raw.train.images, digits.train.images[:100])
    assert np.array_equal(raw.test.images, digits.train.images[100:130])
    assert raw.test.labels.tolist() == digits.train.labels[100:130].tolist()
    assert raw.class_names == tuple("0123456789")
    others = {"test": dataset(digits, slice(130, 140)), "unsupervised": dataset(digits, slice(5))}
    raw = hub.convert(splits | others, name="hub:a/b", on_bad_sample="error", side=4)
    assert raw.validation is not None
    assert (raw.train.images.shape, len(raw.validation.labels), len(raw.test.labels)) == ((100, 1, 4, 4), 30, 10)
    assert raw.skipped == ("the split 'unsupervised' is not read",)
    splits["test"] = dataset(digits, slice(130, 150))  # goes before validation
    assert len(hub.convert(splits, name="x", on_bad_sample="error").test.labels) == 20
    alone = hub.convert({"train": splits["train"]}, name="x", on_bad_sample="error")
    assert len(alone.train.labels) + len(alone.test.labels) == 100
    assert 10 <= len(alone.test.labels) <= 20  # every fifth of a class


def test_bad_rows_are_named_or_skipped(digits: RawSet) -> None:
    train = dataset(digits, slice(20))
    train.rows[4]["image"] = "damaged"  # type: ignore[index]
    train.rows[6]["image"] = None  # type: ignore[index]
    splits = {"train": train, "test": dataset(digits, slice(20, 30))}
    with pytest.raises(DataError, match=r"hub:a/b, train, row 4: not decodable(?s:.*)row 6"):
        hub.convert(splits, name="hub:a/b", on_bad_sample="error")
    raw = hub.convert(splits, name="hub:a/b", on_bad_sample="skip")
    assert raw.train.rows.tolist() == [i for i in range(20) if i not in (4, 6)]
    assert raw.train.labels.tolist() == digits.train.labels[raw.train.rows].tolist()


@pytest.mark.parametrize(
    ("split", "features", "message"),
    [
        ("test", FEATURES, "no split 'train'; it has test"),
        ("train", {"image": Image(), "note": Value()}, "type ClassLabel"),
        ("train", {"text": Value(), "label": ClassLabel("ab")}, "type Image"),
        ("train", {"left": Image(), "right": Image(), "label": ClassLabel("ab")}, r"left \(Image\), right \(Image\)"),
    ],
)
def test_splits_and_columns_must_be_clear(digits: RawSet, split: str, features: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        hub.convert({split: dataset(digits, slice(5), features)}, name="x", on_bad_sample="error")


def test_read_asks_the_package_and_reports_its_errors(monkeypatch: pytest.MonkeyPatch, digits: RawSet) -> None:
    def load_dataset(name: str, cache_dir: str | None) -> dict[str, Dataset]:
        if (name, cache_dir) != ("a/b", "/x"):
            raise ConnectionError("no network")
        return {"train": dataset(digits, slice(50)), "test": dataset(digits, slice(50, 60))}

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))  # type: ignore[arg-type]
    assert len(hub.read("a/b", download_folder="/x", on_bad_sample="error").train.labels) == 50
    with pytest.raises(DataError, match=r"hub:a/c cannot be loaded \(ConnectionError: no network\)"):
        hub.read("a/c", download_folder="", on_bad_sample="error")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'torchsid\[hub\]'"):
        hub.read("a/b", download_folder="", on_bad_sample="error")
