from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from torchsid.errors import DataError
from torchsid.tasks.images import NoiseConfig
from torchsid.tasks.images.noise import measure, noisy_labels, transition_matrix
from torchsid.tasks.images.raw import RawPart
from torchsid.tasks.images.request import Request

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LABELS = np.tile(np.arange(10), 3000)
TRAIN = RawPart.complete(np.zeros((30_000, 1, 1, 1), dtype=np.uint8), LABELS)


def changed(name: str = "cifar10", path: str = "", train: RawPart = TRAIN, **noise: object) -> NDArray[np.int64]:
    return noisy_labels(NoiseConfig(**noise), Request(name=name, path=path), train, CIFAR10)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "pair"])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_labels_change_as_often_and_into_what_the_matrix_says(kind: str, rate: float) -> None:
    matrix = transition_matrix(NoiseConfig(kind=kind, rate=rate), "cifar10", CIFAR10)  # type: ignore[arg-type]
    noisy = changed(kind=kind, rate=rate)
    counts = np.zeros((10, 10))
    np.add.at(counts, (LABELS, noisy), 1)
    assert matrix.sum(axis=1) == pytest.approx(np.ones(10))
    assert (counts[matrix == 0] == 0).all()
    assert np.abs(counts / 3000 - matrix).max() < 5 * np.sqrt(0.25 / 3000)
    assert noisy.dtype == np.int64


def test_asymmetric_noise_is_the_published_confusion() -> None:
    noisy = changed(kind="asymmetric", rate=1.0)
    became = {CIFAR10[i]: CIFAR10[noisy[i]] for i in range(10) if noisy[i] != i}
    assert became == {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}
    assert (changed(kind="pair", rate=1.0) == (LABELS + 1) % 10).all()
    with pytest.raises(DataError, match=r"cifar100(?s:.*)noise\.kind = 'pair'"):
        changed("cifar100", kind="asymmetric", rate=0.1)


def test_the_seed_alone_chooses() -> None:
    one, same, other = (changed(kind="symmetric", rate=0.5, seed=seed) for seed in (1, 1, 2))
    assert ((one == same).all(), (one == other).all()) == (True, False)


def test_what_was_done_is_measured() -> None:
    noise = NoiseConfig(kind="pair", rate=0.5)
    report = measure(noise, np.array([0, 0, 1, 2]), np.array([1, 1, 2, 2]), ("a", "b", "c"))
    assert report["share"] == 0.75
    assert report["transitions"] == {"a": {"b": 2}, "b": {"c": 1}}
    assert (report["kind"], report["rate"]) == ("pair", 0.5)
    nothing = measure(NoiseConfig(), LABELS, LABELS, CIFAR10)
    assert (nothing["share"], nothing["transitions"]) == (0.0, {})


@pytest.mark.parametrize(("column", "share"), [("aggre_label", 0.0901), ("worse_label", 0.4021), ("random_label1", 0.1723)])
def test_human_labels_of_cifar10(column: str, share: float, shared: Path) -> None:
    from pyarrow import parquet

    labels = parquet.read_table(shared / "cifar10-train.parquet", columns=["label"])["label"].to_numpy()
    train = RawPart.complete(np.zeros((50_000, 1, 1, 1), dtype=np.uint8), labels)
    asked = {"path": str(shared), "kind": "column", "column": column}
    noisy = changed(train=train, **asked)
    assert (labels != noisy).mean() == pytest.approx(share, abs=1e-4)
    kept = np.arange(7, 50_000, 9)  # after other rows were skipped
    assert (changed(train=train.take(kept), **asked) == noisy[kept]).all()
    with pytest.raises(DataError, match="clean_label differs"):
        changed(train=RawPart.complete(train.images, labels[::-1]), **asked)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"mine": np.zeros(29_999, dtype=int)}, "29999 rows, the training set 30000"),
        ({"mine": np.zeros(30_001, dtype=int)}, "30001 rows, the training set 30000"),
        ({"mine": np.full(30_000, 10)}, r"outside 0 … 9"),
        ({"yours": np.zeros(30_000, dtype=int)}, "no column mine; it has yours"),
        ({"mine": np.zeros(30_000)}, "one integer a row, found type double"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(columns: dict[str, object], message: str, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=rf"labels\.parquet(?s:.*){message}"):
        changed("mnist", str(tmp_path), kind="column", column="mine", file="labels.parquet")
    with pytest.raises(DataError, match=r"set noise\.file"):
        changed("mnist", str(tmp_path), kind="column", column="mine")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "column"}, r"needs noise\.column"),
        ({"rate": 0.2}, "no effect"),
        ({"kind": "column", "column": "a", "rate": 0.2}, "no effect"),
        ({"kind": "pair", "rate": 0.2, "file": "a.parquet"}, "no effect"),
        ({"kind": "pair", "rate": 1.2}, "less than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NoiseConfig(**values)
