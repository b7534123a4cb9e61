"""Random resized crops: boxes are what they promise, and are cut and resized as Pillow does, from files and on the device."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from torchsid.tasks.images.crop import box, resized_crop
from torchsid.tasks.images.decode import decode

UNIFORM = st.floats(0, 1, exclude_max=True)


@given(st.tuples(*[UNIFORM] * 4), st.floats(0.01, 0.99), st.integers(1, 3000), st.integers(1, 3000))
def test_boxes_lie_within_the_image_and_have_area_and_shape(
    draw: tuple[float, ...], smallest: float, width: int, height: int
) -> None:
    left, top, right, bottom = box(draw, smallest, width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    area, longest = (right - left) * (bottom - top) / (width * height), min(width / height, height / width) * 4 / 3
    assert area >= min(smallest, longest) * (1 - 1e-6)
    assert 3 / 4 - 1e-6 <= (right - left) / (bottom - top) <= 4 / 3 + 1e-6
    wanted = smallest + (1 - smallest) * draw[0]
    if wanted <= longest:
        assert area == pytest.approx(wanted)


def test_boxes_are_anywhere_and_of_any_shape() -> None:
    draws = torch.rand(2000, 4, generator=torch.Generator().manual_seed(0)).tolist()
    boxes = np.array([box(draw, 0.08, 500, 500) for draw in draws])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes.min(0) == pytest.approx([0, 0, 100, 100], abs=80)
    assert boxes.max(0) == pytest.approx([400, 400, 500, 500], abs=80)
    assert np.log(sides[:, 0] / sides[:, 1]).mean() == pytest.approx(0, abs=0.03)
    assert sides.prod(1).mean() / 500**2 == pytest.approx(0.54, abs=0.02)


def smooth(count: int, height: int, width: int) -> torch.Tensor:
    coarse = torch.randint(0, 256, (count, 3, 6, 8), generator=torch.Generator().manual_seed(1)).float()
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255).round().to(torch.uint8)


def test_on_the_device_boxes_are_what_pillow_cuts_and_resizes() -> None:
    images, draws = smooth(40, 32, 32), torch.rand(40, 4, generator=torch.Generator().manual_seed(2))
    found = resized_crop(images, draws, 0.1)
    for image, draw, one in zip(images, draws.tolist(), found, strict=True):
        file = Image.fromarray(image.movedim(0, -1).numpy())
        expected = np.array(file.resize((32, 32), Image.Resampling.BILINEAR, box=box(draw, 0.1, 32, 32)))
        assert np.abs(expected.astype(int) - one.movedim(0, -1).numpy()).max() <= 1
    everything = torch.tensor([[1.0, 0.5, 0.3, 0.7]]).expand(40, 4)
    assert torch.equal(resized_crop(images, everything, 0.1), images)


@pytest.mark.parametrize("turned", [1, 6])
def test_files_are_cropped_as_they_are_seen_however_little_of_a_jpeg_is_decoded(turned: int) -> None:
    image = Image.fromarray(smooth(1, 600, 800)[0].movedim(0, -1).numpy())
    exif = Image.Exif()
    exif[0x0112] = turned
    image.save(buffer := io.BytesIO(), "JPEG", quality=95, exif=exif)
    seen = image if turned == 1 else image.transpose(Image.Transpose.ROTATE_270)
    for draw in torch.rand(10, 4, generator=torch.Generator().manual_seed(3)).tolist():
        expected = seen.resize((32, 32), Image.Resampling.BILINEAR, box=box(draw, 0.1, *seen.size))
        found = decode(buffer.getvalue(), 3, (32, 32), lambda width, height, draw=draw: box(draw, 0.1, width, height))
        assert np.abs(np.array(expected).astype(int).transpose(2, 0, 1) - found).mean() < 2
