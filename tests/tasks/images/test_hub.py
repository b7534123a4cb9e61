"""Data sets of the hub: how their splits, columns and rows are read. Those of the package itself, where it is installed."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from torchsid.errors import DataError
from torchsid.tasks.images import Images, RawSet, Request, hub, stream
from torchsid.tasks.images.datasets import DATASETS
from torchsid.tasks.images.decoded import decoded

from .conftest import png


class ClassLabel:
    def __init__(self, names: Sequence[str]) -> None:
        self.names = names


class Image:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


Value = type("Value", (), {})  # these stand for those of `datasets`, which are known by their names
FEATURES = {"image": Image(), "label": ClassLabel("0123456789"), "note": Value()}


@dataclass
class Dataset:
    """Stands for a `datasets.Dataset` and for its `IterableDataset`."""

    rows: list[dict[str, Any]]
    features: Mapping[str, Any] = field(default_factory=lambda: FEATURES)
    cache_files: Sequence[Mapping[str, str]] = ()
    breaks_at: int = -1
    position: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.rows[row]

    def select_columns(self, columns: Sequence[str]) -> "Dataset":
        rows = [{column: row[column] for column in columns} for row in self.rows]
        return Dataset(rows, {column: self.features[column] for column in columns}, self.cache_files, self.breaks_at)

    def cast_column(self, column: str, feature: Image) -> "Dataset":
        assert not feature.decode
        return self

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        for start in range(0, len(self), batch_size):
            rows = self.rows[start : start + batch_size]
            yield {column: [row[column] for row in rows] for column in self.features}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while self.position < len(self.rows):
            if self.position == self.breaks_at:
                raise ConnectionError("no network")
            self.position += 1
            yield self.rows[self.position - 1]

    def state_dict(self) -> dict[str, int]:
        return {"at": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.position = state["at"]


def dataset(digits: RawSet, rows: slice, features: Mapping[str, Any] = FEATURES) -> Dataset:
    pairs = zip(digits.train.images[rows], digits.train.labels[rows].tolist(), strict=True)  # type: ignore[arg-type]
    stored = [{"image": {"bytes": png(image), "path": None}, "label": label, "note": ""} for image, label in pairs]
    return Dataset([{name: row.get(name) for name in features} for row in stored], features)


def read(splits: Mapping[str, Any], name: str = "hub:a/b", **settings: Any) -> RawSet:
    request = Request(name=name, **settings)
    return decoded(hub.listed(splits, request), request)


def test_images_labels_and_names_are_converted(digits: RawSet) -> None:
    splits = {"train": dataset(digits, slice(100)), "validation": dataset(digits, slice(100, 130))}
    raw = read(splits)
    assert np.array_equal(raw.train.images[:], digits.train.images[:100])
    assert np.array_equal(raw.test.images[:], digits.train.images[100:130])
    assert raw.test.labels.tolist() == digits.train.labels[100:130].tolist()
    assert raw.class_names == tuple("0123456789")
    others = {"test": dataset(digits, slice(130, 140)), "unsupervised": dataset(digits, slice(5))}
    raw = read(splits | others, size=4)
    assert raw.validation is not None
    assert (tuple(raw.train.images.shape), len(raw.validation.labels), len(raw.test.labels)) == ((100, 1, 4, 4), 30, 10)
    assert raw.skipped == ("the split 'unsupervised' is not read",)
    splits["test"] = dataset(digits, slice(130, 150))  # goes before validation
    assert len(read(splits).test.labels) == 20
    alone = read({"train": splits["train"]})
    assert len(alone.train.labels) + len(alone.test.labels) == 100
    assert 10 <= len(alone.test.labels) <= 20  # every fifth of a class


def test_bad_rows_are_named_or_skipped_and_images_may_have_files_of_their_own(digits: RawSet, tmp_path: Path) -> None:
    train = dataset(digits, slice(20))
    (tmp_path / "2.png").write_bytes(train.rows[2]["image"]["bytes"])
    train.rows[2]["image"] = {"bytes": None, "path": str(tmp_path / "2.png")}
    train.rows[4]["image"] = {"bytes": b"damaged", "path": None}
    train.rows[6]["image"] = None
    train.rows[7]["image"] = {"bytes": None, "path": str(tmp_path / "gone.png")}
    splits = {"train": train, "test": dataset(digits, slice(20, 30))}
    with pytest.raises(DataError, match=r"hub:a/b, train, row 4: of no image format(?s:.*)row 6(?s:.*)row 7(?s:.*)No such file"):
        read(splits)
    raw = read(splits, on_bad_sample="skip")
    assert raw.train.rows.tolist() == [i for i in range(20) if i not in (4, 6, 7)]
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
        read({split: dataset(digits, slice(5), features)})


def test_read_asks_the_package_and_reports_its_errors(monkeypatch: pytest.MonkeyPatch, digits: RawSet) -> None:
    def load_dataset(name: str, cache_dir: str | None) -> dict[str, Dataset]:
        if (name, cache_dir) != ("a/b", "/x"):
            raise ConnectionError("no network")
        return {"train": dataset(digits, slice(50)), "test": dataset(digits, slice(50, 60))}

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))  # type: ignore[arg-type]
    assert len(hub.read(Request(name="hub:a/b", path="/x")).train.labels) == 50
    with pytest.raises(DataError, match=r"hub:a/c cannot be loaded \(ConnectionError: no network\)"):
        hub.read(Request(name="hub:a/c"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'torchsid\[hub\]'"):
        hub.read(Request(name="hub:a/b"))


@pytest.mark.parametrize("size", [0, 4])
def test_a_stream_is_read_once_and_goes_on_where_it_broke_off(monkeypatch: pytest.MonkeyPatch, digits: RawSet, size: int) -> None:
    splits = {"train": dataset(digits, slice(100)), "test": dataset(digits, slice(100, 130))}
    whole = read(splits, size=size)
    splits["train"].breaks_at = 70
    asked: list[bool] = []

    def load_dataset(name: str, streaming: bool) -> dict[str, Dataset]:
        asked.append(streaming)
        return splits

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))  # type: ignore[arg-type]
    monkeypatch.setattr(stream, "_COUNT", 30)
    request = Request(name="hub:a/b", stream=True, size=size)
    with pytest.raises(DataError, match=r"broke off \(ConnectionError: no network\); what was read is kept"):
        hub.read(request)
    folder = stream.folder(request)
    assert sorted(path.name for path in (folder / "train").glob("*.tar")) == ["00000.tar", "00001.tar"]
    splits["train"].breaks_at = 59  # what is kept is not read again
    raw = hub.read(request)
    for part, other in ((raw.train, whole.train), (raw.test, whole.test)):
        assert np.array_equal(part.images[:], other.images[:])
        assert part.labels.tolist() == other.labels.tolist()
    assert hub.read(request).key == raw.key
    assert (asked, raw.class_names) == ([True, True], whole.class_names)


def test_a_stream_needs_a_cache_and_a_hub() -> None:
    with pytest.raises(DataError, match=r"into the cache: leave data\.cache = 'off' out"):
        hub.read(Request(name="hub:a/b", stream=True, cache="off"))
    with pytest.raises(DataError, match=r"data\.stream is for data\.name = 'hub:…'"):
        Images(name="digits", stream=True).load(0)


def saved(datasets: Any, digits: RawSet, folder: Path) -> Any:
    """Write what `save_to_disk` does, and return it."""

    def rows(part: slice) -> Any:
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list("0123456789"))})
        stood_for = dataset(digits, part).rows
        return datasets.Dataset.from_dict({name: [row[name] for row in stood_for] for name in features}, features=features)

    both = datasets.DatasetDict(train=rows(slice(100)), test=rows(slice(100, 130)))
    both.save_to_disk(folder, num_shards={"train": 3, "test": 1})
    return both


def test_what_the_package_has_saved_is_read_at_random(digits: RawSet, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    saved(datasets, digits, tmp_path / "both")
    raw = DATASETS.load("arrow")(Request(name="arrow", path=str(tmp_path / "both")))
    assert np.array_equal(raw.train.images[:], digits.train.images[:100])
    assert raw.test.labels.tolist() == digits.train.labels[100:130].tolist()
    alone = DATASETS.load("arrow")(Request(name="arrow", path=str(tmp_path / "both" / "train")))
    assert len(alone.train.labels) + len(alone.test.labels) == 100
    one = tmp_path / "both" / "train" / "data-00001-of-00003.arrow"
    one.write_bytes(one.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read"):
        DATASETS.load("arrow")(Request(name="arrow", path=str(tmp_path / "both")))


def test_the_packages_own_streams_go_on_where_they_broke_off(
    digits: RawSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    for split, rows in saved(datasets, digits, tmp_path / "both").items():
        (tmp_path / "repository").mkdir(exist_ok=True)
        rows.to_parquet(tmp_path / "repository" / f"{split}-00000-of-00001.parquet")
    name = f"hub:{tmp_path / 'repository'}"
    whole = hub.read(Request(name=name, path=str(tmp_path / "downloads")))
    monkeypatch.setattr(stream, "_COUNT", 30)
    request, write = Request(name=name, stream=True), stream._write

    def interrupted(path: Path, *given: Any) -> bool:
        if path.stem == "00002":
            raise KeyboardInterrupt
        return write(path, *given)

    with monkeypatch.context() as once:
        once.setattr(stream, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            hub.read(request)
    raw = hub.read(request)
    for part, other in ((raw.train, whole.train), (raw.test, whole.test)):
        assert np.array_equal(part.images[:], other.images[:])
        assert part.labels.tolist() == other.labels.tolist()
