import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchsid.errors import DataError
from torchsid.tasks.images.decode import decode, pixels, read_image

from .conftest import png

GREY = np.arange(20, dtype=np.uint8).reshape(4, 5) * 10
COLOUR = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


def test_pixels_survive_and_channels_are_converted() -> None:
    assert np.array_equal(decode(png(GREY)), GREY[None])
    assert np.array_equal(decode(png(COLOUR)), COLOUR)
    assert np.array_equal(decode(png(GREY), channels=3), np.stack([GREY] * 3))
    assert decode(png(COLOUR), channels=1).shape == (1, 4, 5)


def test_read_image_resizes_only_when_it_must(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(COLOUR))
    assert torch.equal(read_image(file, 3, (4, 5)), torch.from_numpy(COLOUR))
    assert read_image(str(file), 1, 8).shape == (1, 8, 8)


@pytest.mark.parametrize("shape", [(699, 499), (499, 699)])
def test_a_rounding_error_of_the_box_is_not_beyond_the_image(shape: tuple[int, int]) -> None:
    assert 499 - 499 / 224 * 224 < 0
    assert pixels(Image.new("L", shape), size=(224, 224)).shape == (1, 224, 224)


@pytest.mark.parametrize(("content", "words"), [(b"", ""), (b"no image", ""), (None, ""), (b"half", "not decodable")])
def test_read_image_names_the_file(content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "holiday.png"
    if content == b"half":
        content = png(np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.uint8))[:1500]
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=rf"holiday\.png.*{words}"):
        read_image(file, 3, 8)


PALETTE = Image.new("P", (4, 4), color=1)
PALETTE.putpalette([0, 0, 0, 10, 20, 30])
CLEAR = Image.fromarray(np.tile(np.array([10, 20, 30, 0], dtype=np.uint8), (4, 4, 1)))


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (PALETTE, "PNG", [10, 20, 30]),
        (Image.new("1", (4, 4), 1), "PNG", [255]),
        (Image.new("CMYK", (4, 4), (255, 0, 0, 0)), "TIFF", [0, 255, 255]),
        (Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)), "PNG", [156]),
        (Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)), "TIFF", [156]),
        (Image.new("F", (4, 4)), "TIFF", "32 bits"),
        (CLEAR, "PNG", [255, 255, 255]),
        (CLEAR, "WEBP", [255, 255, 255]),
        (Image.new("LA", (4, 4), (0, 128)), "PNG", [127]),
        (Image.new("RGB", (4, 4)), "EPS", "PostScript"),
    ],
)
def test_modes_of_images(image: Image.Image, kind: str, expected: list[int] | str) -> None:
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            decode(file.getvalue())
    else:
        assert decode(file.getvalue())[:, 0, 0].tolist() == expected


def test_transparent_entries_of_a_palette_are_white() -> None:
    palette = PALETTE.copy()
    for transparency, expected in ((b"\x00\xff", [10, 20, 30]), (b"\xff\x00", [255, 255, 255]), (1, [255, 255, 255])):
        palette.info["transparency"] = transparency
        assert pixels(palette)[:, 0, 0].tolist() == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_camera_was_held(orientation: int) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    corner = np.zeros((64, 128), dtype=np.uint8)
    corner[:32, :32] = 255
    Image.fromarray(corner).save(file, "JPEG", exif=exif, quality=100)
    whole, small = decode(file.getvalue())[0], decode(file.getvalue(), size=(8, 4) if orientation > 4 else (4, 8))[0]
    assert whole.shape == ((128, 64) if orientation > 4 else (64, 128))
    vertical, horizontal = [(0, 0), (0, -1), (-1, -1), (-1, 0)][(orientation - 1) % 4]
    for picture in (whole, small):
        assert picture[vertical, horizontal] > 250
        assert sum(int(value) > 128 for value in picture[[0, 0, -1, -1], [0, -1, 0, -1]]) == 1


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    header = b"\0\0\0\rIHDR" + struct.pack(">2I5B", 60000, 60000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", zlib.crc32(header[4:])) + b"\0\0\0\0IDAT")
    with pytest.raises(DataError, match=r"bomb\.png: .*3600000000 pixels.*"):
        read_image(tmp_path / "bomb.png", 3, 8)
