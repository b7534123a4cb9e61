"""Data sets that many tests read."""

from pathlib import Path

import numpy as np
import pytest

from tests.tasks.images.samples import SHARED, Pictures, png, write_parquet
from torchsid.tasks.images import RawSet, Request
from torchsid.tasks.images.datasets import DATASETS


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"put the files that docs/data.md names into {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def digits() -> RawSet:
    return DATASETS.load("digits")(Request(name="digits"))  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def mnist_like(digits: RawSet) -> Pictures:
    """200 digits as 28x28 images, `[200, 1, 28, 28]`, and their labels."""
    enlarged = digits.train.images[:200].repeat(3, axis=2).repeat(3, axis=3)
    return np.pad(enlarged, ((0, 0), (0, 0), (2, 2), (2, 2))), digits.train.labels[:200]


@pytest.fixture
def mnist_folder(tmp_path: Path, mnist_like: Pictures) -> Path:
    """A folder with `mnist-train.parquet` (150 images) and `mnist-test.parquet` (50)."""
    encoded, labels = [png(image) for image in mnist_like[0]], mnist_like[1].tolist()
    write_parquet(tmp_path / "mnist-train.parquet", encoded[:150], labels[:150])
    write_parquet(tmp_path / "mnist-test.parquet", encoded[150:], labels[150:])
    return tmp_path
