"""Small data sets in the formats of the real ones, and where those are."""

import io
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHARED = Path(__file__).parents[4] / "shared" / "data"
Pictures = tuple[NDArray[np.uint8], NDArray[np.int64]]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode `[C, H, W]` or `[H, W]`."""
    from PIL import Image

    buffer = io.BytesIO()
    plane = pixels.squeeze(0) if pixels.ndim == 3 and len(pixels) == 1 else pixels
    Image.fromarray(plane.transpose(1, 2, 0) if plane.ndim == 3 else plane).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[int | None],
    *,
    image: str = "image",
    label: str = "label",
    names: Sequence[str] = tuple("0123456789"),
) -> None:
    """Write a Parquet file in the hub's layout."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({image: [{"bytes": data, "path": None} for data in images], label: pa.array(labels, type=pa.int64())})
    features = {label: {"names": list(names), "_type": "ClassLabel"}, image: {"_type": "Image"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    parquet.write_table(table, path, **plain)  # every image once and as it is: tests damage single ones


def encode_idx(array: NDArray[np.integer]) -> bytes:
    """Return an IDX file of unsigned bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, pictures: Pictures, *, pack: Callable[[bytes], bytes] = bytes, end: str = "") -> None:
    """Write 150 images to train on and the others to test with."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, rows in (("train", slice(150)), ("t10k", slice(150, None))):
        (folder / f"{stem}-images-idx3-ubyte{end}").write_bytes(pack(encode_idx(pictures[0][rows, 0])))
        (folder / f"{stem}-labels-idx1-ubyte{end}").write_bytes(pack(encode_idx(pictures[1][rows])))
