import pytest
import torch
from torch import Tensor

from torchsid.tasks.domain import generator_at
from torchsid.tasks.images import AugmentConfig
from torchsid.tasks.images.augmentation import Augmentation, normalise

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def batch(size: int = 64, height: int = 8, width: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 3, height, width), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 10, (size,), generator=generator)


def augmented(
    config: AugmentConfig, images: Tensor, labels: Tensor | None = None, *, step: int = 0, classes: int = 10
) -> tuple[Tensor, Tensor]:
    augmentation = Augmentation(config, MEAN, STD, num_classes=classes)
    draws = augmentation.draw(len(images), (images.shape[2], images.shape[3]), generator_at("step", 0, 0, step))
    labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
    return augmentation(images, labels, {name: tensor.to(images.device) for name, tensor in draws.items()})


ALL = AugmentConfig(random_resized_crop=0.2, crop=2, flip=True, cutout=3, mixup=0.5, cutmix=0.5)


def test_normalise_is_its_formula() -> None:
    images, _ = batch()
    mean, std = (torch.tensor(value, dtype=torch.float64)[:, None, None] for value in (MEAN, STD))
    expected = (images.double() / 255 - mean) / std
    result = normalise(images, MEAN, STD)
    assert result.dtype == torch.float32
    assert torch.allclose(result.double(), expected, atol=1e-5)


def test_with_everything_off_pixels_are_only_scaled() -> None:
    images, labels = batch()
    for config, expected in ((AugmentConfig(normalise=False), images / 255), (AugmentConfig(), normalise(images, MEAN, STD))):
        x, target = augmented(config, images, labels)
        assert torch.equal(x, expected)
        assert target is labels


@pytest.mark.parametrize("shape", [(1, 8, 8), (7, 5, 9), (64, 8, 8)])
def test_the_generator_decides_everything_and_the_images_stay(shape: tuple[int, int, int]) -> None:
    images, labels = batch(*shape)
    before = images.clone()
    one, same, other = (augmented(ALL, images, labels, step=step) for step in (1, 1, 2))
    assert (one[0].shape, one[0].dtype) == ((shape[0], 3, *shape[1:]), torch.float32)
    assert (one[1].shape, one[1].dtype) == ((shape[0], 10), torch.float32)
    assert torch.equal(one[0], same[0])
    assert torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(images, before)


def test_crop_and_flip_give_every_window_of_the_padded_image_about_equally_often() -> None:
    images, _ = batch(1)
    padded = torch.nn.functional.pad(images[0], (1, 1, 1, 1))
    windows = [padded[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    expected = torch.stack([*windows, *(window.flip(-1) for window in windows)])  # [18, 3, 8, 8]
    result, _ = augmented(AugmentConfig(crop=1, flip=True, normalise=False), images.expand(5000, 3, 8, 8), step=3)
    result = (result * 255).round()
    found = (result.unsqueeze(1) == expected).flatten(2).all(-1)  # [5000, 18]
    assert (found.sum(1) == 1).all()
    assert (found.sum(0) - 5000 / 18).abs().max() < 80  # 5 standard deviations


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_paints_one_square_in_the_mean_colour(side: int) -> None:
    images = torch.full((3000, 3, 8, 8), 255, dtype=torch.uint8)
    result, _ = augmented(AugmentConfig(cutout=side, normalise=False), images)
    painted = (result != 1).any(dim=1)
    colour = torch.tensor([128, 102, 76]) / 255  # round(255 · mean), halves to even
    assert (result.permute(0, 2, 3, 1)[painted] == colour).all()
    rows, columns = painted.any(dim=2).sum(dim=1), painted.any(dim=1).sum(dim=1)
    assert (painted.sum(dim=(1, 2)) == rows * columns).all()  # a rectangle
    assert rows.max() == columns.max() == side
    assert rows.min() >= 1
    assert (painted.float().mean(dim=0) > 0).all()  # reaches every pixel


def test_mixup_blends_images_and_labels_alike() -> None:
    images = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1).expand(200, 3, 4, 4)
    labels = torch.arange(200)
    x, target = augmented(AugmentConfig(mixup=1.0, normalise=False), images, labels, classes=200)
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
    x, target = augmented(AugmentConfig(cutmix=1.0, normalise=False), images, labels, classes=200)
    assert torch.allclose(target.sum(dim=1), torch.ones(200), atol=1e-6)
    own = (x == labels.view(-1, 1, 1, 1) / 255).float().mean(dim=(1, 2, 3))
    assert torch.allclose(target[labels, labels], own, atol=1e-6)
    assert own.min() < 0.3
    assert own.max() > 0.95


def test_mixup_and_cutmix_take_turns() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).repeat(32).view(64, 1, 1, 1).expand(64, 3, 8, 8)
    both = AugmentConfig(mixup=1.0, cutmix=1.0, normalise=False)
    batches = [augmented(both, images, step=i)[0] for i in range(100)]
    assert 30 <= sum(bool(((x > 0.01) & (x < 0.99)).any()) for x in batches) <= 70


@pytest.mark.parametrize("size", [64, 7])
def test_what_is_drawn_has_the_same_shapes_whatever_it_is(size: int) -> None:
    """So that a step can be captured: mixup and cutmix, which take turns, are one computation."""
    augmentation = Augmentation(ALL, MEAN, STD, num_classes=10)
    draws = [augmentation.draw(size, (8, 8), generator_at("step", 0, 0, step)) for step in range(8)]
    shapes = [{name: (tensor.shape, tensor.dtype) for name, tensor in each.items()} for each in draws]
    assert all(each == shapes[0] for each in shapes)
    assert {bool((each["blend"] == 1).all()) for each in draws} == {True, False}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="run it on a machine with a GPU")
def test_every_device_draws_the_same() -> None:
    images, labels = batch()
    for config in (ALL, AugmentConfig(crop=2, flip=True, cutmix=1.0)):
        for step in range(4):
            x, target = augmented(config, images, labels, step=step)
            y, other = augmented(config, images.cuda(), labels.cuda(), step=step)
            assert torch.allclose(x, y.cpu(), atol=1e-5)
            assert torch.allclose(target, other.cpu(), atol=1e-6)
