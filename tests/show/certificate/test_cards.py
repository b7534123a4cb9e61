import base64
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from torchsid.show.certificate.cards import Card, picture, small, strip

from .conftest import PartOf


def test_a_strip_has_a_run_for_every_change(part_of: PartOf) -> None:
    part = part_of(count=1, answers=[[0], [1], [1], [0]], truth=[1])
    runs = strip(part.atlas, 0, ["cat", "dog", "eel", "fox"])
    assert [(run.name, run.right, run.first, run.last) for run in runs] == [
        ("cat", False, 1, 1),
        ("dog", True, 2, 3),
        ("cat", False, 4, 4),
    ]
    assert sum(run.length for run in runs) == 4
    spoken = Card("", "", (), runs).answers
    assert spoken == "Answers: cat (wrong) at stage 1, then dog (right) at stages 2 to 3, then cat (wrong) at stage 4"


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_keep_every_pixel_where_it_is(channels: int) -> None:
    image = torch.arange(channels * 20, dtype=torch.uint8).reshape(channels, 4, 5)
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(picture(image).removeprefix("data:image/png;base64,")))))
    np.testing.assert_array_equal(shown.reshape(4, 5, channels), image.permute(1, 2, 0))


def test_large_images_shrink_upright() -> None:
    image = torch.zeros(1, 3, 300, 600, dtype=torch.uint8)
    image[:, :, :150] = 200  # light above
    found = small(image)
    assert found.shape == (1, 3, 64, 128)
    assert (int(found[0, 0, 0, 0]), int(found[0, 0, -1, 0])) == (200, 0)
