"""Every shipped recipe builds, and twins differ from their originals in the method alone."""

from typing import Any

import pytest
import torch

from torchsid.core.cascade import Cascade
from torchsid.learners import LEARNERS
from torchsid.training import recipe_names, resolve
from torchsid.training.config import differences
from torchsid.training.setup import build_learner, build_task

NAMES = tuple(recipe_names())
SIZES = {"digits": (1, 8), "mnist": (1, 28), "fashion-mnist": (1, 28), "cifar10": (3, 32), "cifar100": (3, 32), "folder": (3, 96)}
NOISE_METHODS = ("ce", "label-smoothing", "soft-bootstrap", "hard-bootstrap", "self-distillation", "gce", "sce", "elr")


def changed(before: str, after: str) -> set[str]:
    """The settings in which two recipes differ, besides their names."""
    found = differences(resolve(before), resolve(after))
    return {each.partition(":")[0] for each in found} - {"recipe", "label"}


def test_the_recipes_that_others_refer_to_are_shipped() -> None:
    shared = {"digits", "cifar10-paper", "cifar100-paper", "mnist-paper", "fashion-mnist"}
    staged = {"cifar10-resnet18", "cifar10-vgg11", "cifar10-vit-tiny", "digits-staged"}
    staged |= {
        "trec",
        "sst2",
        "pair-synergy",
        "pair-mixed",
        "shakespeare",
        "shakespeare-bpe",
        "language-demo",
        "diabetes",
        "breast-cancer",
        "rotation",
        "split-mnist",
        "split-cifar10",
    }
    assert {f"{name}{twin}" for name in shared for twin in ("", "-bp", "-bp-plain")} <= set(NAMES)
    assert {f"{name}{twin}" for name in staged for twin in ("", "-bp")} <= set(NAMES)
    images = [resolve(name) for name in NAMES if resolve(name).task == "images"]
    noisy = {config.recipe for config in images if config.data.noise.kind != "none"}
    assert noisy == {"digits-noise", *(f"digits-noise-{method}" for method in NOISE_METHODS)}


def test_every_method_has_a_recipe() -> None:
    assert {resolve(name).learner.name for name in NAMES} == set(LEARNERS.names())


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_builds(name: str) -> None:
    config = resolve(name)
    assert config.recipe == name
    assert config.label
    task: Any = build_task(config)
    about = dict[str, Any](num_classes=10)
    if config.task in ("images", "continual", "rotation"):
        channels, size = SIZES[config.data.name]
        about |= {"channels": channels, "image_size": size}
    elif config.task == "text":
        about |= {"length": config.data.length, "vocabulary": 300}
    elif config.task == "pair":
        about |= {"channels": 1, "image_size": 8, "vocabulary": 30}
    elif config.task == "tabular":
        about |= {"columns": [{"name": "age"}, {"name": "sex", "names": ["f", "m"]}]}
    elif config.task == "control":
        about |= {"width": task.kind.width}
    else:
        about |= {"context": config.data.context}
    example = task.example(about)
    learner = build_learner(config, task, about, torch.device("cpu"))
    learner.module.eval()
    log_beliefs = learner.log_beliefs(example)
    positions = example.shape[1:2] if task.positions == "tokens" else task.positions
    depth = learner.module.depth if isinstance(learner.module, Cascade) else getattr(config.model, "depth", 1)
    assert log_beliefs.shape == (1 + depth, 2, *positions, 10)


@pytest.mark.parametrize("name", [name for name in NAMES if f"{name}-bp" in NAMES])
def test_a_twin_differs_in_the_method_and_a_plain_one_in_the_network_too(name: str) -> None:
    staged, twin = resolve(name).model.network == "staged", resolve(f"{name}-bp")
    sections = {setting.partition(".")[0] for setting in changed(name, f"{name}-bp")}
    assert sections == ({"learner", "model"} if staged else {"learner"})
    assert twin.learner.name == "backprop"
    if staged:
        assert resolve(name).model.stage == "plain"  # the last head is the model's own
        assert twin.model.trunk == resolve(name).model.trunk
    else:
        assert {setting.partition(".")[0] for setting in changed(f"{name}-bp", f"{name}-bp-plain")} == {"model"}


def test_variants_differ_in_what_they_are_called_for() -> None:
    assert changed("cifar10-resnet18", "cifar10-resnet18-ds") == {"learner.window"}
    assert changed("cifar10-resnet18", "cifar10-resnet18-8") == {"model.depth"}
    assert changed("digits", "digits-noise") == {"data.noise.kind", "data.noise.rate"}
    for method in NOISE_METHODS:
        assert all(setting.startswith("learner.") for setting in changed("digits-noise", f"digits-noise-{method}"))
    assert resolve("digits-noise-label-smoothing").learner.label_smoothing == 0.1


def test_the_paper_is_repeated_faithfully() -> None:
    config = resolve("cifar10-paper")
    assert (config.model.depth, config.training.batch_size, config.training.epochs) == (5, 256, 20)
    assert (config.learner.alpha, config.optimizer.learning_rate) == (0.5, 1e-3)
    assert (resolve("cifar100-paper").model.depth, resolve("cifar100-paper").training.epochs) == (8, 100)
