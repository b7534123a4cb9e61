import pytest
import torch

from torchsid import models
from torchsid.errors import ConfigError
from torchsid.planner.presets import ModelSpec, names


def parameters(spec: ModelSpec) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in spec.build().parameters())


def test_the_vision_transformers_have_their_published_sizes() -> None:
    published = {"small": 22_050_664, "base": 86_567_656, "large": 304_326_632, "huge": 632_045_800, "giant": 1_844_440_680}
    assert {size: parameters(ModelSpec(name=f"vit-{size}")) for size in published} == published


@pytest.mark.parametrize("name", names())
def test_its_own_sizes_change_nothing(name: str) -> None:
    spec = ModelSpec(name=name, image_size=112)
    sized = ModelSpec(name=name, image_size=112, width=spec.own("width"), depth=spec.own("depth"))
    assert parameters(sized) == parameters(spec)


@pytest.mark.parametrize("name", sorted({*names()} & {*models.classifier_names()}))
def test_a_classifier_is_planned_as_it_is_trained(name: str) -> None:
    with torch.device("meta"):
        own = models.classifier(name, num_classes=10, in_channels=3, image_size=32)
        planned = ModelSpec(name=name, classes=10, image_size=32).build()
    assert {k: v.shape for k, v in own.state_dict().items()} == {k: v.shape for k, v in planned.state_dict().items()}


def test_depth_and_width_scale_a_preset() -> None:
    small = ModelSpec(name="mlp", depth=3, width=32, image_size=8)
    block = 2 * 32 * (32 + 1) + 2 * 32
    assert parameters(ModelSpec(name="mlp", depth=5, width=32, image_size=8)) - parameters(small) == 2 * block
    assert parameters(ModelSpec(name="vit-small", width=768)) == parameters(ModelSpec(name="vit-base"))
    halved = ModelSpec(name="vit-giant", width=832, depth=1)
    assert halved.build().blocks[0].mlp.fc1.out_features == 4096  # in proportion


def test_wrong_models_are_refused_before_they_are_built() -> None:
    for wrong in ({"name": "vit-larg"}, {"name": "vgg-11", "depth": 3}, {"name": "mlp", "classes": 1}):
        with pytest.raises(ConfigError):
            ModelSpec(**wrong).check()  # type: ignore[arg-type]
