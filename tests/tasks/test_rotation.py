"""Images are turned by the angle that is to be foreseen."""

import pytest
import torch
from scipy import ndimage

from torchsid.tasks.images.augmentation import AugmentConfig
from torchsid.tasks.images.noise import NoiseConfig
from torchsid.tasks.numbers import Numbers
from torchsid.tasks.rotation import Rotation, turned


@pytest.mark.parametrize("degrees", [-170.0, -45.0, 0.0, 10.0, 90.0])
def test_an_image_is_turned_as_scipy_turns_it(degrees: float) -> None:
    image = ndimage.gaussian_filter(torch.rand(24, 24).numpy() * 255, 1.5)
    found = turned(torch.from_numpy(image).round().to(torch.uint8).view(1, 1, 24, 24), torch.tensor([degrees]))
    expected = ndimage.rotate(image.round(), degrees, reshape=False, order=1)
    within = slice(6, 18)  # at the edges they differ in what lies beyond
    differs = found[0, 0, within, within].double() - torch.from_numpy(expected)[within, within].double()
    assert differs.abs().max() <= 2


def test_positive_angles_turn_to_the_left() -> None:
    image = torch.randint(0, 256, (1, 2, 8, 8), dtype=torch.uint8)
    assert torch.equal(turned(image, torch.tensor([90.0])), image.rot90(1, (2, 3)))


def test_angles_are_even_the_same_for_every_seed_and_what_the_targets_say() -> None:
    task = Rotation(name="digits", degrees=60.0)
    first, second = task.load(0), task.load(1)
    for part in ("train", "validation", "test"):
        samples = getattr(first, part)
        numbers = Numbers.of(first.about)
        assert numbers is not None
        assert samples.value.abs().max() <= 60
        torch.testing.assert_close(numbers.bins.mean(samples.target.double().log()), samples.value, atol=1e-3, rtol=0)
    angles = []
    for splits in (first, second):
        found = dict[int, float]()
        for part in (splits.train, splits.validation):
            assert part.rows is not None
            assert part.value is not None
            found |= zip(part.rows.tolist(), part.value.tolist(), strict=True)
        angles.append(found)
    assert angles[0] == angles[1]
    assert first.train.value is not None
    assert first.train.value.std().item() == pytest.approx(120 / 12**0.5, rel=0.05)
    assert torch.equal(first.test.inputs[:], second.test.inputs[:])
    assert first.fingerprint["arrays/test"] == second.fingerprint["arrays/test"] != task.load(0).fingerprint["arrays/train"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"augment": AugmentConfig(flip=True, mixup=0.2)}, "augment.flip, augment.mixup: what it does"),
        ({"noise": NoiseConfig(kind="symmetric", rate=0.1)}, "noise: what it does"),
        ({"name": "mnits"}, "unknown data set 'mnits'"),
    ],
)
def test_what_would_change_the_angle_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rotation(**settings)  # type: ignore[arg-type]
