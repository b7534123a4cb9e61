from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from torchsid.errors import DataError
from torchsid.tasks.images.decode import decode, decode_all, read_image

Encode = Callable[[NDArray[np.uint8]], bytes]
GREY = np.arange(20, dtype=np.uint8).reshape(4, 5) * 10
COLOUR = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


def test_pixels_survive(png: Encode) -> None:
    assert np.array_equal(decode(png(GREY)), GREY[None])
    assert np.array_equal(decode(png(COLOUR)), COLOUR)


def test_channels_are_converted(png: Encode) -> None:
    assert np.array_equal(decode(png(GREY), channels=3), np.stack([GREY] * 3))
    assert decode(png(COLOUR), channels=1).shape == (1, 4, 5)


def test_read_image_resizes_only_when_it_must(png: Encode, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(COLOUR))
    same = read_image(file, 3, (4, 5))
    assert same.dtype == torch.uint8
    assert np.array_equal(same.numpy(), COLOUR)
    assert read_image(str(file), 1, 8).shape == (1, 8, 8)


@pytest.mark.parametrize("content", [b"", b"no image at all", None])
def test_read_image_names_the_file(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "holiday.png"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=r"holiday\.png"):
        read_image(file, 3, 8)


def test_a_truncated_image_is_an_error(png: Encode, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.uint8)
    (tmp_path / "half.png").write_bytes(png(noise)[:1500])
    with pytest.raises(DataError, match=r"half\.png: not decodable"):
        read_image(tmp_path / "half.png", 3, 32)


def test_sixteen_bits_are_refused() -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)).save(buffer, "PNG")
    with pytest.raises(DataError, match="8 bits"):
        decode(buffer.getvalue())


def test_a_palette_with_transparency_becomes_colour() -> None:
    import io

    from PIL import Image

    image = Image.new("P", (4, 4), color=1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=b"\x00\xff")
    assert decode(buffer.getvalue())[:, 0, 0].tolist() == [10, 20, 30]


def test_the_order_of_many_images_is_kept(png: Encode) -> None:
    sources = [png(np.full((2, 2), i, dtype=np.uint8)) for i in range(100)]
    images, kept, notes = decode_all(sources, channels=1, where=str, on_bad_sample="error")
    assert images[:, 0, 0, 0].tolist() == list(range(100))
    assert (kept.tolist(), notes) == (list(range(100)), ())


def test_bad_samples_are_all_named_or_all_skipped(png: Encode) -> None:
    sources = [png(GREY), b"nonsense", png(GREY), png(GREY.T), None]
    with pytest.raises(DataError, match=r"3 of 5 images(?s:.*)row 1: (?s:.*)row 3: is 5x4 grey, most(?s:.*)row 4: no"):
        decode_all(sources, channels=None, where=lambda i: f"row {i}", on_bad_sample="error")
    images, kept, notes = decode_all(sources, channels=None, where=lambda i: f"row {i}", on_bad_sample="skip")
    assert images.shape == (2, 1, 4, 5)
    assert kept.tolist() == [0, 2]
    assert [note.split(":")[0] for note in notes] == ["row 1", "row 3", "row 4"]


def test_a_long_list_of_bad_samples_is_cut(png: Encode) -> None:
    with pytest.raises(DataError, match="and 20 more"):
        decode_all([png(GREY), *[b"x"] * 30], channels=1, where=str, on_bad_sample="error")


def test_nothing_decodable_is_an_error_even_when_skipping() -> None:
    with pytest.raises(DataError, match="2 of 2"):
        decode_all([b"x", b"y"], channels=1, where=str, on_bad_sample="skip")


def test_a_missing_package_is_not_a_bad_sample(monkeypatch: pytest.MonkeyPatch, png: Encode) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_jxl", None)
    with pytest.raises(DataError, match=r"pip install 'torchsid\[jxl\]'"):
        decode_all([png(GREY), b"\xff\x0a rest"], channels=3, where=str, on_bad_sample="skip")


def test_a_damaged_jpeg_xl_is_a_bad_sample() -> None:
    pytest.importorskip("pillow_jxl")
    with pytest.raises(DataError, match="row 0"):
        decode_all([b"\xff\x0a rest"], channels=3, where=lambda i: f"row {i}", on_bad_sample="error")
