"""Small data sets on disk, and where the real ones are."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torchsid.tasks.images.digits import read as read_digits

from torchsid.tasks.images.raw import RawSet

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the real data sets are not here")
    return SHARED


@pytest.fixture(scope="session")
def digits() -> RawSet:
    return read_digits()


@pytest.fixture(scope="session")
def mnist_like(digits: RawSet) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """200 digits as 28x28 images, `[200, 1, 28, 28]`, and their labels."""
    enlarged = digits.train.images[:200].repeat(3, axis=2).repeat(3, axis=3)
    return np.pad(enlarged, ((0, 0), (0, 0), (2, 2), (2, 2))), digits.train.labels[:200]


@pytest.fixture(scope="session")
def png() -> Callable[[NDArray[np.uint8]], bytes]:
    """Encode `[C, H, W]` or `[H, W]`."""

    def encode(pixels: NDArray[np.uint8]) -> bytes:
        from PIL import Image

        buffer = io.BytesIO()
        plane = pixels.squeeze(0) if pixels.ndim == 3 and len(pixels) == 1 else pixels
        Image.fromarray(plane.transpose(1, 2, 0) if plane.ndim == 3 else plane).save(buffer, "PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def write_parquet() -> Callable[..., None]:
    """Write a Parquet file in the hub's layout."""

    def write(
        path: Path,
        images: Sequence[bytes | None],
        labels: Sequence[int | None],
        *,
        image: str = "image",
        label: str = "label",
        names: Sequence[str] | None = tuple("0123456789"),
    ) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        table = pa.table({image: [{"bytes": data, "path": None} for data in images], label: pa.array(labels, type=pa.int64())})
        if names is not None:
            features = {label: {"names": list(names), "_type": "ClassLabel"}, image: {"_type": "Image"}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
        parquet.write_table(table, path, **plain)  # every image once and as it is: tests damage single ones

    return write


@pytest.fixture
def mnist_folder(
    tmp_path: Path,
    mnist_like: tuple[NDArray[np.uint8], NDArray[np.int64]],
    png: Callable[[NDArray[np.uint8]], bytes],
    write_parquet: Callable[..., None],
) -> Path:
    """A folder with `mnist-train.parquet` (150 images) and `mnist-test.parquet` (50)."""
    images, labels = mnist_like
    encoded = [png(image) for image in images]
    write_parquet(tmp_path / "mnist-train.parquet", encoded[:150], labels[:150].tolist())
    write_parquet(tmp_path / "mnist-test.parquet", encoded[150:], labels[150:].tolist())
    return tmp_path
