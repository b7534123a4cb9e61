from pathlib import Path

import numpy as np
import pytest

from torchsid.errors import DataError
from torchsid.tasks.images.config import DataConfig, NoiseConfig
from torchsid.tasks.images.noise import CONFUSIONS, measure, noisy_labels, transition_matrix
from torchsid.tasks.images.raw import RawPart

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LABELS = np.tile(np.arange(10), 3000)
TRAIN = RawPart.complete(np.zeros((30_000, 1, 1, 1), dtype=np.uint8), LABELS)


def config(name: str = "cifar10", **noise: object) -> DataConfig:
    return DataConfig(name=name, noise=NoiseConfig(**noise))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "pair"])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_labels_change_as_often_and_into_what_the_matrix_says(kind: str, rate: float) -> None:
    asked = config(kind=kind, rate=rate)
    matrix = transition_matrix(asked.noise, "cifar10", CIFAR10)
    noisy = noisy_labels(asked, TRAIN, CIFAR10)
    counts = np.zeros((10, 10))
    np.add.at(counts, (LABELS, noisy), 1)
    assert matrix.sum(axis=1) == pytest.approx(np.ones(10))
    assert (counts[matrix == 0] == 0).all()
    assert np.abs(counts / 3000 - matrix).max() < 5 * np.sqrt(0.25 / 3000)
    assert noisy.dtype == np.int64


def test_symmetric_noise_at_full_rate_leaves_no_label() -> None:
    assert not (noisy_labels(config(kind="symmetric", rate=1.0), TRAIN, CIFAR10) == LABELS).any()


def test_pair_noise_is_the_next_class() -> None:
    assert (noisy_labels(config(kind="pair", rate=1.0), TRAIN, CIFAR10) == (LABELS + 1) % 10).all()


def test_asymmetric_noise_is_the_published_confusion() -> None:
    noisy = noisy_labels(config(kind="asymmetric", rate=1.0), TRAIN, CIFAR10)
    became = {CIFAR10[i]: CIFAR10[noisy[i]] for i in range(10) if noisy[i] != i}
    assert became == {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}
    digits = noisy_labels(config("mnist", kind="asymmetric", rate=1.0), TRAIN, tuple("0123456789"))
    assert {i: int(digits[i]) for i in range(10) if digits[i] != i} == {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}


def test_a_set_without_confusions_is_sent_to_pair() -> None:
    assert "cifar100" not in CONFUSIONS
    with pytest.raises(DataError, match=r"cifar100(?s:.*)noise\.kind = 'pair'"):
        noisy_labels(config("cifar100", kind="asymmetric", rate=0.1), TRAIN, CIFAR10)


def test_the_seed_alone_chooses() -> None:
    one, same, other = (noisy_labels(config(kind="symmetric", rate=0.5, seed=s), TRAIN, CIFAR10) for s in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


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
    asked = DataConfig(name="cifar10", path=str(shared), noise=NoiseConfig(kind="column", column=column))
    noisy = noisy_labels(asked, train, CIFAR10)
    assert measure(asked.noise, labels, noisy, CIFAR10)["share"] == pytest.approx(share, abs=1e-4)

    kept = np.arange(7, 50_000, 9)  # after other rows were skipped
    assert (noisy_labels(asked, train.take(kept), CIFAR10) == noisy[kept]).all()

    shuffled = RawPart.complete(train.images, labels[::-1])
    with pytest.raises(DataError, match="clean_label differs"):
        noisy_labels(asked, shuffled, CIFAR10)


def write_labels(path: Path, **columns: object) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), path)


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
    write_labels(tmp_path / "labels.parquet", **columns)
    noise = NoiseConfig(kind="column", column="mine", file="labels.parquet")
    with pytest.raises(DataError, match=rf"labels\.parquet(?s:.*){message}"):
        noisy_labels(DataConfig(name="mnist", path=str(tmp_path), noise=noise), TRAIN, CIFAR10)


def test_other_sets_need_the_files_name() -> None:
    with pytest.raises(DataError, match=r"set noise\.file"):
        noisy_labels(config("mnist", kind="column", column="mine"), TRAIN, CIFAR10)
