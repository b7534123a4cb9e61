from collections.abc import Callable

import pytest
import torch
from torch import nn

from torchsid import SID, Backprop, SharedCascade, StagedCascade, learners
from torchsid.errors import ConfigError
from torchsid.learners.deep_supervision import DeepSupervision
from torchsid.training import RunConfig, resolve
from torchsid.training.build import build_learner, build_network, choose_device, place

SIZES = {"num_classes": 10, "channels": 1, "image_size": 8}


def test_settings_reach_network_and_method(small: Callable[..., RunConfig]) -> None:
    settings = ["learner.alpha=[0.9, 0.1]", "learner.label_smoothing=0.1", "learner.temperature=3"]
    config = small(*settings, "model.extractor=simple-cnn", "model.init=zero")
    learner = build_learner(build_network(config, **SIZES), config)
    assert isinstance(learner, SID)
    assert learner.module.depth == 2
    assert learner.objective.alphas(2) == (0.9, 0.1)
    assert learner.objective.label_smoothing == 0.1
    assert learner.objective.temperature == 3.0
    assert learner.log_beliefs(torch.zeros(3, 1, 8, 8)).shape == (3, 3, 10)
    torch.testing.assert_close(learner.log_beliefs(torch.randn(3, 1, 8, 8)), torch.full((3, 3, 10), 0.1).log())


@pytest.mark.parametrize(("recipe", "kind"), [("digits-bp", SharedCascade), ("digits-bp-plain", torch.nn.Sequential)])
def test_twins(small: Callable[..., RunConfig], recipe: str, kind: type) -> None:
    config = small("learner.label_smoothing=0.2", recipe=recipe)
    learner = build_learner(build_network(config, **SIZES), config)
    assert isinstance(learner, Backprop)
    assert isinstance(learner.module, kind)
    assert learner.label_smoothing == 0.2


LABELS = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7])
IMAGES = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("soft-bootstrap", "soft_bootstrap_beta=0.5"),
        ("hard-bootstrap", "hard_bootstrap_beta=0.5"),
        ("self-distillation", "self_distillation_alpha=0.5"),
        ("gce", "gce_q=0.5"),
        ("sce", "sce_alpha=0.5"),
        ("sce", "sce_beta=0.5"),
        ("elr", "elr_lambda=0.5"),
        ("elr", "elr_beta=0.5"),
    ],
)
def test_each_method_for_wrong_labels_has_a_loss_and_settings_of_its_own(
    small: Callable[..., RunConfig], name: str, setting: str
) -> None:
    def losses(*overrides: str) -> list[float]:
        """Of the same images in two epochs."""
        config = small("model.network=plain", *overrides)
        torch.manual_seed(0)
        learner = build_learner(build_network(config, **SIZES), config, samples=8, num_classes=10)
        assert isinstance(learner, Backprop)
        return [learner.backward(IMAGES, LABELS, samples=torch.arange(8)).loss.item() for _ in range(2)]

    plain, own, changed = (
        losses("learner.name=backprop"),
        losses(f"learner.name={name}"),
        losses(f"learner.name={name}", f"learner.robust.{setting}"),
    )
    assert own != pytest.approx(plain, rel=1e-5)
    assert changed != pytest.approx(own, rel=1e-5)
    assert losses("learner.name=backprop", f"learner.robust.{setting}") == plain  # a setting rests under other methods


def test_deep_supervision_is_built(small: Callable[..., RunConfig]) -> None:
    config = small("learner.name=deep-supervision")
    learner = build_learner(build_network(config, **SIZES), config)
    assert isinstance(learner, DeepSupervision)
    assert len(learner.backward(IMAGES, LABELS).stage_losses) == 2


@pytest.mark.parametrize("name", [name for name in learners.names() if name != "sid"])
def test_label_smoothing_goes_with_every_method(small: Callable[..., RunConfig], name: str) -> None:
    config = small("learner.label_smoothing=0.2", f"learner.name={name}")
    learner = build_learner(build_network(config, **SIZES), config)
    assert isinstance(learner, Backprop)
    assert learner.label_smoothing == 0.2


def staged(*overrides: str) -> tuple[RunConfig, StagedCascade]:
    config = resolve("digits-staged", ["model.width=32", *overrides])
    torch.manual_seed(0)
    module = build_network(config, **SIZES)
    assert isinstance(module, StagedCascade)
    return config, module


def cuts(module: StagedCascade) -> list[str]:
    assert module.plan is not None
    return [stage.cut for stage in module.plan.stages]


def test_settings_reach_a_staged_network() -> None:
    config, module = staged("learner.window=2", "learner.alpha=[0.9, 0.8, 0.7, 0.6]", "learner.label_smoothing=0.1")
    learner = build_learner(module, config)
    assert isinstance(learner, SID)
    assert (module.depth, learner.window, learner.optimizer) == (4, 2, None)
    assert learner.objective.alphas(4) == (0.9, 0.8, 0.7, 0.6)
    assert sum(parameter.numel() for parameter in module.model.blocks[0].parameters()) == 2 * 32 + 2 * (32 * 32 + 32)
    _, named = staged('model.cuts=["stem", "blocks.6"]', "model.depth=3")
    assert cuts(named) == ["stem", "blocks.6", ""]
    assert cuts(staged("model.balance=equal")[1]) != cuts(module)


def test_kind_and_budget_of_the_heads() -> None:
    """A residual head begins as the identity on beliefs, hence with the prior."""
    x = torch.randn(3, 1, 8, 8)
    prior = torch.full((3, 10), 0.1).log()
    torch.testing.assert_close(staged("model.stage=residual")[1].log_beliefs(x)[1], prior)
    assert not torch.allclose(staged("model.stage=plain")[1].log_beliefs(x)[1], prior, atol=1e-3)
    small, large = (
        sum(parameter.numel() for parameter in staged(f"model.max_head_share={share}")[1].heads.parameters())
        for share in (0.5, 9.0)
    )
    assert small < large


def test_the_twin_is_the_same_trunk_with_the_same_weights() -> None:
    torch.manual_seed(0)
    twin = build_network(resolve("digits-staged-bp", ["model.width=32"]), **SIZES)
    trunk = staged()[1].model
    assert all(torch.equal(tensor, trunk.state_dict()[name]) for name, tensor in twin.state_dict().items())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.depth=30"], r"model\.trunk = 'mlp': stages=30: .*model\.depth"),
        (['model.cuts=["blocks.1", "blocks.11"]', "model.depth=3"], r"'blocks\.11' is no submodule .*model\.cuts"),
        (["model.head=conv"], r"model\.head = 'conv' does not fit .* stage 1"),
        (["model.head=mlp"], "max_head_share=0.25"),
        (["model.trunk=vgg-11"], "image_size=8 must be 32 or more"),
    ],
)
def test_a_trunk_that_cannot_be_cut_so_is_a_problem_of_the_configuration(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        staged(*overrides)


@pytest.mark.parametrize("override", ["model.by=graph", "training.channels_last=true"])
def test_how_a_trunk_is_cut_and_laid_out_does_not_change_its_gradients(override: str) -> None:
    x, target = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(6)
    gradients = []
    for overrides in ([], [override]):
        config, module = staged("model.trunk=resnet-18", "model.width=4", "model.max_head_share=9.0", *overrides)
        place(module, config, torch.device("cpu"))
        build_learner(module, config).backward(x, target)
        gradients.append([parameter.grad for parameter in module.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_compilation_takes_the_stages_and_the_heads_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda part: compiled.append(part))
    config, module = staged("model.by=graph", "training.compile=true")
    place(module, config, torch.device("cpu"))
    assert compiled == [*module.segments.modules, *module.heads]  # type: ignore[attr-defined]


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert choose_device("auto") == torch.device("cpu")
        with pytest.raises(ConfigError, match=r"training\.device"):
            choose_device("cuda")
