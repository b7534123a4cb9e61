from typing import Any

import pytest
import torch
from torch import nn

from torchsid import SID, StagedCascade
from torchsid.core.learner import Learner
from torchsid.errors import ConfigError
from torchsid.training import resolve
from torchsid.training.build import build_learner, build_network, build_task, choose_device, place

NARROW = "model.width=32"


def built(recipe: str, *overrides: str) -> Any:
    """The learner of a recipe, on digits."""
    config = resolve(recipe, overrides)
    task = build_task(config)
    torch.manual_seed(0)
    module = build_network(config, task, {"num_classes": 10, "channels": 1, "image_size": 8})
    return build_learner(place(module, config, task, torch.device("cpu")), config)


def cuts(learner: Learner) -> list[str]:
    assert isinstance(learner.module, StagedCascade)
    assert learner.module.plan is not None
    return [stage.cut for stage in learner.module.plan.stages]


def test_settings_reach_network_and_method() -> None:
    settings = ["learner.alpha=[0.9, 0.1]", "learner.label_smoothing=0.1", "learner.temperature=3", "model.depth=2"]
    learner = built("digits", *settings, "model.extractor=simple-cnn", "model.init=zero")
    assert (type(learner), learner.objective.alphas(2)) == (SID, (0.9, 0.1))
    assert (learner.objective.label_smoothing, learner.objective.temperature) == (0.1, 3.0)
    torch.testing.assert_close(learner.log_beliefs(torch.randn(3, 1, 8, 8)), torch.full((3, 3, 10), 0.1).log())


def test_settings_reach_a_staged_network() -> None:
    staged = built("digits-staged", NARROW, "learner.window=2")
    assert (staged.module.depth, staged.window, staged.optimizer) == (4, 2, None)
    assert cuts(built("digits-staged", NARROW, 'model.cuts=["stem", "blocks.6"]', "model.depth=3")) == ["stem", "blocks.6", ""]
    assert cuts(built("digits-staged", NARROW, "model.balance=equal")) != cuts(staged)
    residual = built("digits-staged", NARROW, "model.stage=residual").log_beliefs(torch.randn(3, 1, 8, 8))
    torch.testing.assert_close(residual[1], residual[0])  # it begins as the identity on beliefs
    twin = built("digits-staged-bp", NARROW).module  # the same trunk with the same weights
    weights = staged.module.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in twin.state_dict().items())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.depth=30"], r"model\.network = 'staged': stages=30"),
        (['model.cuts=["blocks.1"]', "model.depth=3"], r"set depth = 2"),
        (["model.head=conv"], "stage 1, .*head 'conv'"),
        (["model.trunk=vgg-11"], "image_size=8 must be 32 or more"),
    ],
)
def test_a_trunk_that_cannot_be_cut_so_is_a_problem_of_the_configuration(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        built("digits-staged", NARROW, *overrides)


@pytest.mark.parametrize("override", ["model.by=graph", "data.channels_last=true"])
def test_how_a_trunk_is_cut_and_laid_out_does_not_change_its_gradients(override: str) -> None:
    """Of 8 channels: with 4, PyTorch 2.13 corrupts memory in channels-last convolutions."""
    x, gradients = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), []
    for overrides in ([], [override]):
        settings = ["model.trunk=resnet-18", "model.width=8", "model.max_head_share=9.0"]
        learner = built("digits-staged", *settings, *overrides)
        learner.backward(x, torch.arange(6))
        gradients.append([parameter.grad for parameter in learner.module.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_compilation_takes_the_stages_and_the_heads_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda part: compiled.append(part))
    module = built("digits-staged", NARROW, "model.by=graph", "training.compile=true").module
    assert compiled == [*module.segments.modules, *module.heads]


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert choose_device("auto") == torch.device("cpu")
        with pytest.raises(ConfigError, match=r"training\.device"):
            choose_device("cuda")
