from collections import Counter

import pytest
import torch
from torch import Tensor

from torchsid.tasks.images.augmentation import Augmentation, crop_and_flip, cutout, normalise
from torchsid.tasks.images.config import AugmentConfig
from torchsid.tasks.order import step_generator

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def batch(size: int = 64, height: int = 8, width: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 3, height, width), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 10, (size,), generator=generator)


def augmentation(config: AugmentConfig) -> Augmentation:
    return Augmentation(config, MEAN, STD, num_classes=10)


ALL = AugmentConfig(crop=2, flip=True, cutout=3, mixup=0.5, cutmix=0.5)


def test_normalise_is_its_formula() -> None:
    images, _ = batch()
    mean, std = (torch.tensor(value, dtype=torch.float64)[:, None, None] for value in (MEAN, STD))
    expected = (images.double() / 255 - mean) / std
    result = normalise(images, MEAN, STD)
    assert result.dtype == torch.float32
    assert torch.allclose(result.double(), expected, atol=1e-5)


def test_with_everything_off_pixels_are_only_scaled() -> None:
    images, labels = batch()
    before = images.clone()
    x, target = augmentation(AugmentConfig(normalise=False))(images, labels, step_generator(0, 0, 0))
    assert torch.equal(x, images.float() / 255)
    assert target is labels
    x, _ = augmentation(AugmentConfig())(images, labels, step_generator(0, 0, 0))
    assert torch.equal(x, normalise(images, MEAN, STD))
    assert torch.equal(images, before)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 9)])
@pytest.mark.parametrize("size", [1, 7])
def test_any_shape_and_a_ragged_last_batch(size: int, height: int, width: int) -> None:
    x, target = augmentation(ALL)(*batch(size, height, width), step_generator(0, 0, 0))
    assert x.shape == (size, 3, height, width)
    assert x.dtype == target.dtype == torch.float32
    assert target.shape == (size, 10)


def test_the_generator_decides_everything() -> None:
    images, labels = batch()
    before = images.clone()
    one, same, other = (augmentation(ALL)(images, labels, step_generator(0, 0, step)) for step in (1, 1, 2))
    assert torch.equal(one[0], same[0])
    assert torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(images, before)


def test_every_offset_occurs_about_equally_often_and_black_flows_in() -> None:
    padding, count = 2, 5000
    images = torch.arange(1, 43, dtype=torch.uint8).view(1, 1, 6, 7).expand(count, 3, 6, 7)
    padded = torch.nn.functional.pad(images[:1], (padding,) * 4)
    places = {padded[0, :, y : y + 6, x : x + 7].numpy().tobytes(): (y, x) for y in range(5) for x in range(5)}
    cropped = crop_and_flip(images, padding, False, step_generator(0, 0, 0))
    seen = Counter(places[image.numpy().tobytes()] for image in cropped)
    assert len(seen) == 25
    assert max(seen.values()) < 270  # 200 expected, 5 standard deviations are 70
    assert min(seen.values()) > 130


def test_about_half_are_mirrored_and_the_rest_untouched() -> None:
    images = torch.arange(27, dtype=torch.uint8).view(1, 3, 3, 3).expand(2000, 3, 3, 3)
    flipped = crop_and_flip(images, 0, True, step_generator(0, 0, 0))
    is_same = (flipped == images).flatten(1).all(dim=1)
    is_mirrored = (flipped == images.flip(-1)).flatten(1).all(dim=1)
    assert (is_same ^ is_mirrored).all()
    assert is_mirrored.float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_crop_and_flip_equals_padding_slicing_and_mirroring() -> None:
    images, _ = batch(32)
    result = crop_and_flip(images, 1, True, step_generator(0, 0, 3))
    generator = step_generator(0, 0, 3)
    top, left = torch.randint(0, 3, (2, 32, 1), generator=generator)
    mirrored = torch.rand(32, 1, generator=generator) < 0.5
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    for i in range(32):
        window = padded[i, :, top[i] : top[i] + 8, left[i] : left[i] + 8]
        assert torch.equal(result[i], window.flip(-1) if mirrored[i] else window)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_paints_one_square_in_the_mean_colour(side: int) -> None:
    images = torch.full((3000, 3, 8, 8), 255, dtype=torch.uint8)
    result = cutout(images, side, MEAN, step_generator(0, 0, 0))
    painted = (result != images).any(dim=1)
    colour = torch.tensor([128, 102, 76], dtype=torch.uint8)  # round(255 · mean), halves to even
    assert (result.permute(0, 2, 3, 1)[painted] == colour).all()
    rows, columns = painted.any(dim=2).sum(dim=1), painted.any(dim=1).sum(dim=1)
    assert (painted.sum(dim=(1, 2)) == rows * columns).all()  # a rectangle
    assert rows.max() == columns.max() == side
    assert rows.min() >= 1
    assert (painted.float().mean(dim=0) > 0).all()  # reaches every pixel


def test_mixup_blends_images_and_labels_alike() -> None:
    images = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1).expand(200, 3, 4, 4)
    labels = torch.arange(200)
    mix = Augmentation(AugmentConfig(mixup=1.0, normalise=False), MEAN, STD, num_classes=200)
    x, target = mix(images, labels, step_generator(0, 0, 0))
    assert torch.allclose(target.sum(dim=1), torch.ones(200), atol=1e-6)
    assert (target >= 0).all()
    assert ((target > 0).sum(dim=1) <= 2).all()
    expected = target @ (labels / 255)
    assert torch.allclose(x, expected[:, None, None, None].expand_as(x), atol=1e-5)
    own = target[labels, labels]
    assert own.mean().item() == pytest.approx(0.5, abs=0.1)
    assert own.std().item() == pytest.approx(1 / 12**0.5, abs=0.06)  # Beta(1, 1) is uniform


def test_cutmix_pastes_a_rectangle_and_counts_its_area() -> None:
    images = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1).expand(200, 3, 16, 16)
    labels = torch.arange(200)
    mix = Augmentation(AugmentConfig(cutmix=1.0, normalise=False), MEAN, STD, num_classes=200)
    x, target = mix(images, labels, step_generator(0, 0, 0))
    assert torch.allclose(target.sum(dim=1), torch.ones(200), atol=1e-6)
    own = (x == labels.view(-1, 1, 1, 1) / 255).float().mean(dim=(1, 2, 3))
    assert torch.allclose(target[labels, labels], own, atol=1e-6)
    assert own.min() < 0.3
    assert own.max() > 0.95


def test_mixup_and_cutmix_take_turns() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).repeat(32).view(64, 1, 1, 1).expand(64, 3, 8, 8)
    both = augmentation(AugmentConfig(mixup=1.0, cutmix=1.0, normalise=False))
    labels = torch.zeros(64, dtype=torch.int64)
    blended = sum(
        bool(((x > 0.01) & (x < 0.99)).any()) for x, _ in (both(images, labels, step_generator(0, 0, i)) for i in range(100))
    )
    assert 30 <= blended <= 70


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_every_device_draws_the_same() -> None:
    images, labels = batch()
    for config in (ALL, AugmentConfig(crop=2, flip=True, cutmix=1.0)):
        for step in range(4):
            x, target = augmentation(config)(images, labels, step_generator(0, 0, step))
            y, other = augmentation(config)(images.cuda(), labels.cuda(), step_generator(0, 0, step))
            assert torch.allclose(x, y.cpu(), atol=1e-5)
            assert torch.allclose(target, other.cpu(), atol=1e-6)
