"""Every shipped recipe binds to the configuration, and twins differ from their originals in the method alone."""

from dataclasses import replace

import pytest

from torchsid.training.recipes import names, resolve

ORIGINALS = [name for name in names() if f"{name}-bp" in names()]


def test_the_recipes_of_the_paper_are_shipped() -> None:
    assert {"digits", "cifar10-paper", "cifar100-paper", "mnist-paper", "fashion-mnist"} == set(ORIGINALS)


@pytest.mark.parametrize("name", names())
def test_every_recipe_resolves(name: str) -> None:
    config = resolve(name)
    assert config.recipe == name
    assert config.label


@pytest.mark.parametrize("name", ORIGINALS)
def test_twins_differ_in_the_method_alone(name: str) -> None:
    original, twin, plain = resolve(name), resolve(f"{name}-bp"), resolve(f"{name}-bp-plain")
    assert (original.learner.name, twin.learner.name, plain.learner.name) == ("sid", "backprop", "backprop")
    learner = replace(original.learner, name="backprop")
    assert twin == replace(original, recipe=twin.recipe, label=twin.label, learner=learner)
    model = replace(original.model, network="plain")
    assert plain == replace(original, recipe=plain.recipe, label=plain.label, learner=learner, model=model)


def test_the_paper_is_repeated_faithfully() -> None:
    config = resolve("cifar10-paper")
    assert (config.model.depth, config.training.batch_size, config.learner.alpha, config.optimizer.learning_rate) == (
        5,
        256,
        0.5,
        1e-3,
    )
    assert (resolve("cifar100-paper").model.depth, resolve("cifar100-paper").training.epochs) == (8, 100)
