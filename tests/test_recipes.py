"""Every shipped recipe binds to the configuration, and twins differ from their originals in the method alone."""

from dataclasses import replace

import pytest
import torch

from torchsid.training.build import build_learner, build_network
from torchsid.training.optimization import build_optimizer
from torchsid.training.recipes import names, resolve

WITH_TWINS = [name for name in names() if f"{name}-bp" in names()]
STAGED = [name for name in WITH_TWINS if resolve(name).model.network == "staged"]
ORIGINALS = [name for name in WITH_TWINS if name not in STAGED]
IMAGES = {"digits": (1, 8), "mnist": (1, 28), "fashion-mnist": (1, 28), "cifar10": (3, 32), "cifar100": (3, 32)}


def test_the_recipes_of_the_paper_are_shipped() -> None:
    assert {"digits", "cifar10-paper", "cifar100-paper", "mnist-paper", "fashion-mnist"} == set(ORIGINALS)


def test_the_recipes_of_cut_trunks_are_shipped() -> None:
    assert {"cifar10-resnet18", "cifar10-vgg11", "cifar10-vit-tiny", "digits-staged"} == set(STAGED)


@pytest.mark.parametrize("name", names())
def test_every_recipe_resolves(name: str) -> None:
    config = resolve(name)
    assert config.recipe == name
    assert config.label


@pytest.mark.parametrize("name", names())
def test_every_recipe_builds(name: str) -> None:
    config = resolve(name)
    channels, image_size = IMAGES[config.data.name]
    module = build_network(config, num_classes=10, channels=channels, image_size=image_size)
    learner = build_learner(module, config, build_optimizer(module, config.optimizer))
    stages = 1 if config.model.network == "plain" else config.model.depth
    with torch.no_grad():
        log_beliefs = learner.log_beliefs(torch.zeros(1, channels, image_size, image_size))
    assert log_beliefs.shape == (stages + 1, 1, 10)


@pytest.mark.parametrize("name", STAGED)
def test_a_twin_of_a_cut_trunk_is_the_trunk_uncut(name: str) -> None:
    original, twin = resolve(name), resolve(f"{name}-bp")
    learner, model = replace(original.learner, name="backprop"), replace(original.model, network="plain")
    assert original.model.stage == "plain"  # the last head is the model's own
    assert twin == replace(original, recipe=twin.recipe, label=twin.label, learner=learner, model=model)


def test_variants_of_the_resnet_differ_in_one_setting() -> None:
    original, supervised, eight = (resolve(f"cifar10-resnet18{suffix}") for suffix in ("", "-ds", "-8"))
    learner = replace(original.learner, window=original.model.depth)
    assert supervised == replace(original, recipe=supervised.recipe, label=supervised.label, learner=learner)
    assert eight == replace(original, recipe=eight.recipe, label=eight.label, model=replace(original.model, depth=8))


@pytest.mark.parametrize("name", ORIGINALS)
def test_twins_differ_in_the_method_alone(name: str) -> None:
    original, twin, plain = resolve(name), resolve(f"{name}-bp"), resolve(f"{name}-bp-plain")
    assert (original.learner.name, twin.learner.name, plain.learner.name) == ("sid", "backprop", "backprop")
    learner = replace(original.learner, name="backprop")
    assert twin == replace(original, recipe=twin.recipe, label=twin.label, learner=learner)
    model = replace(original.model, network="plain")
    assert plain == replace(original, recipe=plain.recipe, label=plain.label, learner=learner, model=model)


NOISE_METHODS = ("ce", "label-smoothing", "soft-bootstrap", "hard-bootstrap", "self-distillation", "gce", "sce", "elr")


def test_the_recipes_of_label_noise_are_shipped() -> None:
    noisy = {name for name in names() if resolve(name).data.noise.kind != "none"}
    assert noisy == {"digits-noise", *(f"digits-noise-{method}" for method in NOISE_METHODS)}
    original, clean = resolve("digits-noise"), resolve("digits")
    assert (original.data.noise.kind, original.data.noise.rate) == ("symmetric", 0.4)
    data = replace(original.data, noise=clean.data.noise)
    assert clean == replace(original, recipe=clean.recipe, label=clean.label, data=data)


@pytest.mark.parametrize("method", NOISE_METHODS)
def test_rivals_under_label_noise_differ_in_the_method_alone(method: str) -> None:
    original, rival = resolve("digits-noise"), resolve(f"digits-noise-{method}")
    name = "backprop" if method in ("ce", "label-smoothing") else method
    learner = replace(original.learner, name=name, label_smoothing=0.1 if method == "label-smoothing" else 0.0)
    assert rival == replace(original, recipe=rival.recipe, label=rival.label, learner=learner)


def test_the_paper_is_repeated_faithfully() -> None:
    config = resolve("cifar10-paper")
    assert (config.model.depth, config.training.batch_size, config.learner.alpha, config.optimizer.learning_rate) == (
        5,
        256,
        0.5,
        1e-3,
    )
    assert (resolve("cifar100-paper").model.depth, resolve("cifar100-paper").training.epochs) == (8, 100)
