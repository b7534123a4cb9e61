import pytest
import torch

from torchsid import models
from torchsid.errors import ConfigError
from torchsid.planner.presets import PRESETS, ModelSpec, names


def parameters(spec: ModelSpec) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in spec.build().parameters())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vit-small", 22_050_664),
        ("vit-base", 86_567_656),
        ("vit-large", 304_326_632),
        ("vit-huge", 632_045_800),
        ("vit-giant", 1_844_440_680),
    ],
)
def test_the_vision_transformers_have_their_published_sizes(name: str, count: int) -> None:
    assert parameters(ModelSpec(name=name)) == count


def test_classifiers_and_presets_have_names_of_their_own() -> None:
    assert set(names()) == {*models.classifier_names(), *PRESETS}
    assert len(names()) == len(set(names()))


@pytest.mark.parametrize("name", names())
def test_its_own_sizes_change_nothing(name: str) -> None:
    spec = ModelSpec(name=name, image_size=112)
    as_is = parameters(spec)
    assert parameters(ModelSpec(name=name, image_size=112, width=spec.own_width)) == as_is
    if spec.own_depth:
        assert parameters(ModelSpec(name=name, image_size=112, depth=spec.own_depth)) == as_is


def test_depth_and_width_scale_a_preset() -> None:
    small, wide = ModelSpec(name="mlp", depth=3, width=32, image_size=8), ModelSpec(name="vit-small", width=768)
    block = 2 * 32 * (32 + 1) + 2 * 32
    assert parameters(ModelSpec(name="mlp", depth=5, width=32, image_size=8)) - parameters(small) == 2 * block
    assert parameters(wide) == parameters(ModelSpec(name="vit-base"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec(name="vit-larg"), r"unknown model 'vit-larg' \(did you mean 'vit-large'\?\)"),
        (ModelSpec(name="vgg-11", depth=3), "vgg-11 has a fixed one; it can be set for mlp, vit-tiny, vit-small"),
        (ModelSpec(name="mlp", classes=1), "a belief needs 2 or more"),
    ],
)
def test_wrong_models(spec: ModelSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spec.check()


def test_images_that_do_not_fit_the_patches() -> None:
    with pytest.raises(ConfigError, match="image_size=225 must be a multiple of patch_size=16"):
        ModelSpec(name="vit-base", image_size=225).build()
