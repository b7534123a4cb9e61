"""Small data sets in the formats of the real ones, and where those are."""

import io
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from torchsid.tasks.images import RawSet, Request
from torchsid.tasks.images.datasets import DATASETS

SHARED = Path(__file__).parents[4] / "shared" / "data"
Pictures = tuple[NDArray[np.uint8], NDArray[np.int64]]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode `[C, H, W]` or `[H, W]`."""
    buffer = io.BytesIO()
    plane = pixels.squeeze(0) if pixels.ndim == 3 and len(pixels) == 1 else pixels
    Image.fromarray(plane.transpose(1, 2, 0) if plane.ndim == 3 else plane).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(
    file: Path,
    images: Sequence[bytes | None],
    labels: Sequence[int | None],
    *,
    image: str = "image",
    label: str = "label",
    names: Sequence[str] = tuple("0123456789"),
    paths: Sequence[str] | None = None,
) -> None:
    """Write a Parquet file in the hub's layout."""
    pairs = zip(images, paths or [None] * len(images), strict=True)
    table = pa.table({image: [{"bytes": data, "path": path} for data, path in pairs], label: pa.array(labels, type=pa.int64())})
    features = {label: {"names": list(names), "_type": "ClassLabel"}, image: {"_type": "Image"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    parquet.write_table(table, file, **plain)  # every image once and as it is: tests damage single ones


def encode_idx(array: NDArray[np.integer]) -> bytes:
    """Return an IDX file of unsigned bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, pictures: Pictures, *, pack: Callable[[bytes], bytes] = bytes, end: str = "") -> None:
    """Write 150 images to train on and the others to test with."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, rows in (("train", slice(150)), ("t10k", slice(150, None))):
        (folder / f"{stem}-images-idx3-ubyte{end}").write_bytes(pack(encode_idx(pictures[0][rows, 0])))
        (folder / f"{stem}-labels-idx1-ubyte{end}").write_bytes(pack(encode_idx(pictures[1][rows])))


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
