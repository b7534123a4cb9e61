from collections.abc import Callable

import pytest
import torch
from torch import nn

from torchsid import SID, Cascade, StagedCascade, learners
from torchsid.errors import ConfigError
from torchsid.learners.backprop import Backprop
from torchsid.training import RunConfig, resolve
from torchsid.training.build import build_learner, build_network, build_task, choose_device, place

ABOUT = {"num_classes": 10, "channels": 1, "image_size": 8}
Small = Callable[..., RunConfig]


def network(config: RunConfig) -> nn.Module:
    torch.manual_seed(0)
    return build_network(config, build_task(config), ABOUT)


def staged(*overrides: str) -> tuple[RunConfig, StagedCascade]:
    config = resolve("digits-staged", ["model.width=32", *overrides])
    module = network(config)
    assert isinstance(module, StagedCascade)
    return config, module


def cuts(module: StagedCascade) -> list[str]:
    assert module.plan is not None
    return [stage.cut for stage in module.plan.stages]


def test_settings_reach_network_and_method(small: Small) -> None:
    settings = ["learner.alpha=[0.9, 0.1]", "learner.label_smoothing=0.1", "learner.temperature=3"]
    config = small(*settings, "model.extractor=simple-cnn", "model.init=zero")
    learner = build_learner(network(config), config)
    assert isinstance(learner, SID)
    assert learner.module.depth == 2
    assert learner.objective.alphas(2) == (0.9, 0.1)
    assert (learner.objective.label_smoothing, learner.objective.temperature) == (0.1, 3.0)
    torch.testing.assert_close(learner.log_beliefs(torch.randn(3, 1, 8, 8)), torch.full((3, 3, 10), 0.1).log())


@pytest.mark.parametrize("name", learners.names())
def test_every_method_is_built_by_its_name_with_its_defaults(name: str) -> None:
    config = resolve("digits", [f"learner.name={name}"])
    learner = build_learner(network(config), config)
    assert type(learner).__name__.lower() == name.replace("-", "")
    assert isinstance(learner.module, Cascade)
    assert all(getattr(learner, key, value) == value for key, value in vars(config.learner).items() if isinstance(value, float))


def test_settings_reach_a_staged_network() -> None:
    config, module = staged("learner.window=2", "learner.alpha=[0.9, 0.8, 0.7, 0.6]")
    learner = build_learner(module, config)
    assert isinstance(learner, SID)
    assert (module.depth, learner.window, learner.optimizer) == (4, 2, None)
    assert sum(parameter.numel() for parameter in module.model.blocks[0].parameters()) == 2 * 32 + 2 * (32 * 32 + 32)
    assert cuts(staged('model.cuts=["stem", "blocks.6"]', "model.depth=3")[1]) == ["stem", "blocks.6", ""]
    assert cuts(staged("model.balance=equal")[1]) != cuts(module)
    x, prior = torch.randn(3, 1, 8, 8), torch.full((3, 10), 0.1).log()
    torch.testing.assert_close(staged("model.stage=residual")[1].log_beliefs(x)[1], prior)  # it begins as the identity on beliefs
    small, large = (staged(f"model.max_head_share={share}")[1].heads for share in (0.5, 9.0))
    assert sum(map(torch.numel, small.parameters())) < sum(map(torch.numel, large.parameters()))


def test_the_twin_is_the_same_trunk_with_the_same_weights() -> None:
    config = resolve("digits-staged-bp", ["model.width=32"])
    twin, trunk = network(config), staged()[1].model
    assert type(build_learner(twin, config)) is Backprop
    assert all(torch.equal(tensor, trunk.state_dict()[name]) for name, tensor in twin.state_dict().items())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.depth=30"], r"model\.network = 'staged': stages=30: .*"),
        (['model.cuts=["blocks.1"]', "model.depth=3"], r"set depth = 2"),
        (['model.cuts=["blocks.1", "blocks.11"]', "model.depth=3"], r"'blocks\.11' is no submodule"),
        (["model.head=conv"], "stage 1, .*head 'conv'"),
        (["model.head=mlp"], "max_head_share=0.25"),
        (["model.trunk=vgg-11"], "image_size=8 must be 32 or more"),
    ],
)
def test_a_trunk_that_cannot_be_cut_so_is_a_problem_of_the_configuration(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        staged(*overrides)


@pytest.mark.parametrize("override", ["model.by=graph", "data.channels_last=true"])
def test_how_a_trunk_is_cut_and_laid_out_does_not_change_its_gradients(override: str) -> None:
    """Of 8 channels: with 4, PyTorch 2.13 corrupts memory in channels-last convolutions."""
    x, target = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(6)
    gradients = []
    for overrides in ([], [override]):
        config, module = staged("model.trunk=resnet-18", "model.width=8", "model.max_head_share=9.0", *overrides)
        place(module, config, build_task(config), torch.device("cpu"))
        build_learner(module, config).backward(x, target)
        gradients.append([parameter.grad for parameter in module.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_compilation_takes_the_stages_and_the_heads_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda part: compiled.append(part))
    config, module = staged("model.by=graph", "training.compile=true")
    place(module, config, build_task(config), torch.device("cpu"))
    assert compiled == [*module.segments.modules, *module.heads]  # type: ignore[attr-defined]


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert choose_device("auto") == torch.device("cpu")
        with pytest.raises(ConfigError, match=r"training\.device"):
            choose_device("cuda")
