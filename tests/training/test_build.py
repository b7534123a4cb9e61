from collections.abc import Callable

import pytest
import torch

from torchsid import SID, Backprop, Cascade
from torchsid.errors import ConfigError
from torchsid.training import RunConfig
from torchsid.training.build import build_learner, build_network, choose_device

SIZES = {"num_classes": 10, "channels": 1, "image_size": 8}


def test_settings_reach_network_and_method(small: Callable[..., RunConfig]) -> None:
    config = small("learner.alpha=[0.9, 0.1]", "model.extractor=simple-cnn", "learner.label_smoothing=0.1")
    learner = build_learner(build_network(config, **SIZES), config)
    assert isinstance(learner, SID)
    assert learner.module.depth == 2
    assert learner.objective.alphas(2) == (0.9, 0.1)
    assert learner.objective.label_smoothing == 0.1
    assert learner.log_beliefs(torch.zeros(3, 1, 8, 8)).shape == (3, 3, 10)


@pytest.mark.parametrize(("recipe", "kind"), [("digits-bp", Cascade), ("digits-bp-plain", torch.nn.Sequential)])
def test_twins(small: Callable[..., RunConfig], recipe: str, kind: type) -> None:
    config = small("learner.label_smoothing=0.2", recipe=recipe)
    learner = build_learner(build_network(config, **SIZES), config)
    assert isinstance(learner, Backprop)
    assert isinstance(learner.module, kind)
    assert learner.label_smoothing == 0.2


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert choose_device("auto") == torch.device("cpu")
        with pytest.raises(ConfigError, match=r"training\.device"):
            choose_device("cuda")
