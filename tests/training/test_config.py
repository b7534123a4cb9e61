from collections.abc import Iterator
from dataclasses import replace

import pytest

from torchsid.errors import ConfigError
from torchsid.training.config import RunConfig
from torchsid.training.recipes import resolve
from torchsid.training.schema import dotted_names

FIELDS = [name for name, section in dotted_names(RunConfig).items() if section is None]


def misspelt(name: str) -> Iterator[str]:
    """The name with each letter of its last part changed, in turn."""
    section, dot, leaf = name.rpartition(".")
    for place in range(len(leaf)):
        other = "q" if leaf[place] != "q" else "z"
        yield section + dot + leaf[:place] + other + leaf[place + 1 :]


@pytest.mark.parametrize("name", FIELDS)
def test_every_misspelt_field_is_refused_and_the_right_one_named(name: str) -> None:
    for wrong in misspelt(name):
        with pytest.raises(ConfigError) as caught:
            resolve("digits", [f"{wrong}=1"])
        assert caught.value.problems == (f"unknown key {wrong!r} (did you mean {name!r}?)",)


def test_the_tree_has_the_fields_that_recipes_use() -> None:
    assert {"data.noise.rate", "augment.crop", "learner.alpha", "training.checkpoint_every_seconds"} <= set(FIELDS)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["learner.alpha=1.5"], "[0, 1]"),
        (["learner.alpha=[0.5, -0.1, 0.5, 0.5, 0.5]"], "[0, 1]"),
        (["learner.alpha=[0.5, 0.5]"], "model.depth = 5"),
        (["learner.alpha=linear:1.0"], "linear:FIRST:LAST"),
        (["learner.alpha=linear:1.0:2.0"], "linear:FIRST:LAST"),
        (["learner.direction=reverse"], "learner.label_smoothing"),
        (["learner.alpha_over=epochs"], "'epochs' needs a schedule, not learner.alpha = 0.5"),
        (["learner.alpha_over=epochs", "learner.alpha=[0.1, 0.2, 0.3, 0.4, 0.5]"], "needs a schedule, not learner.alpha = [0.1"),
        (["learner.alpha_over=epoch"], "did you mean 'epochs'"),
        (["learner.temperature=0"], "learner.temperature = 0"),
        (["model.init=xavierr"], "did you mean 'xavier'"),
        (["learner.name=gcee"], "did you mean 'gce'"),
        (["learner.robust.gce_q=0"], "learner.robust.gce_q = 0"),
        (["learner.robust.soft_bootstrap_beta=1.1"], "learner.robust.soft_bootstrap_beta = 1.1"),
        (["learner.robust.elr_beta=1.0"], "learner.robust.elr_beta = 1.0"),
        (["learner.robust.elr_lambda=-1"], "learner.robust.elr_lambda = -1"),
        (["model.network=plain"], "learner.name = 'backprop'"),
        (["model.extractor=simple-cnm"], "did you mean 'simple-cnn'"),
        (["model.trunk=resnet-19"], "did you mean 'resnet-18'"),
        (["model.head=cnov"], "did you mean 'conv'"),
        (["model.balance=memroy"], "did you mean 'memory'"),
        (["optimizer.momentum=0.9"], "optimizer.name = 'sgd'"),
        (["optimizer.name=sgd", "optimizer.nesterov=true"], "optimizer.momentum above 0"),
        (["optimizer.name=adamm"], "did you mean 'adam'"),
        (["optimizer.schedule=one-cycle"], "optimizer.warmup"),
        (["optimizer.learning_rate=0"], "optimizer.learning_rate = 0"),
        (["optimizer.learning_rate=nan"], "finite"),
        (["training.patience=3", "data.validation=0.0"], "data.validation"),
        (["training.epochs=0"], "training.epochs = 0"),
        (["training.epochs=true"], "training.epochs = True"),
        (["training.epochs=three"], "training.epochs = 'three'"),
        (["training.seed=-1"], "training.seed = -1"),
        (["training=3"], "training is a section"),
        (["training.epochs"], "KEY=VALUE"),
        (["learning_rate=0.1"], "'optimizer.learning_rate'"),
        (["data.noise.kind=column"], "noise.column"),
    ],
)
def test_bad_values_say_what_is_allowed_and_which_setting_it_is(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("digits", overrides)
    assert len(caught.value.problems) == 1
    assert words in str(caught.value)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("digits", ["learner.alhpa=1", "optimizer.name=x", "training.epochs=0", "learner.alpha=7", "nonsense"])
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5
    assert all(word in text for word in ("alhpa", "optimizer.name", "training.epochs", "learner.alpha = 7", "nonsense"))


@pytest.mark.parametrize("alpha", ["0.3", "[1.0, 0.8, 0.6, 0.4, 0.2]", "linear:1.0:0.2", "cosine:1.0:0.2"])
def test_every_form_of_alpha_is_taken(alpha: str) -> None:
    assert resolve("digits", [f"learner.alpha={alpha}"]).learner.alpha in (0.3, [1.0, 0.8, 0.6, 0.4, 0.2], alpha)


def test_reverse_with_smoothed_targets_is_allowed() -> None:
    assert resolve("digits", ["learner.direction=reverse", "learner.label_smoothing=0.1"]).learner.direction == "reverse"


def test_a_changed_copy_is_checked_too() -> None:
    config = resolve("digits")
    assert replace(config, training=replace(config.training, seed=3)).training.seed == 3
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        replace(config, training=replace(config.training, seed=-3))
