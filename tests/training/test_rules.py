"""Which settings need or exclude each other."""

import pytest

from .test_config import problems

UNKNOWN = "unknown key"
NEEDS_AND_EXCLUDES = [
    # settings that the chosen network or method does not have
    ("digits", "model.trunk=mlp", UNKNOWN),
    ("digits-staged", "model.extractor=mlp", UNKNOWN),
    ("digits-bp-plain", "model.depth=3", UNKNOWN),
    ("digits-bp", "learner.alpha=0.3", UNKNOWN),
    ("digits-noise-gce", "learner.beta=0.3", UNKNOWN),
    # methods and networks
    ("digits", "learner.window=2", "staged cascade"),
    ("digits", "learner.update=stage", "staged cascade"),
    ("digits-staged", "learner.window=5", "set it to 4"),
    ("digits-staged", "learner.schedule=batched", "shared cascade"),
    ("digits-staged", "learner.name=backprop", "set model.network = 'plain'"),
    ("digits-staged", "learner.name=deep-supervision", "set model.network = 'cascade'"),
    ("digits-bp-plain", "learner.name=deep-supervision", "set model.network = 'cascade'"),
    ("digits-bp-plain", "learner.name=sid", "another method"),
    ("digits-noise-elr", "data.augment.mixup=0.2", "blends"),
    ("digits-noise-self-distillation", "data.augment.cutmix=1.0", "blends"),
    ("digits", "learner.alpha_over=epochs", "needs a schedule"),
    # the optimiser and the loop
    ("digits", "optimizer.momentum=0.9", "optimizer.name = 'sgd'"),
    ("digits", "optimizer.schedule=one-cycle", "optimizer.warmup"),
    ("digits", "optimizer.head_learning_rate=0.1", "model.network = 'staged'"),
    ("digits-staged", "watch.conflict=true", "shared extractor"),
    ("digits-staged", "training.compile=true", "model.by = 'graph'"),
    ("digits", "watch.on_no_descent=stop", "watch.certify = true"),
]


@pytest.mark.parametrize(("recipe", "override", "words"), NEEDS_AND_EXCLUDES)
def test_what_does_not_go_together_is_one_problem_with_its_way_out(recipe: str, override: str, words: str) -> None:
    (problem,) = problems(recipe, override)
    assert words in problem
    setting, _, value = override.partition("=")
    assert setting.partition(".")[0] in problem or value in problem


@pytest.mark.parametrize("override", ["learner.window=2", "optimizer.clip_gradient=1.0", "training.on_non_finite=skip"])
def test_stages_that_are_updated_at_once_allow_nothing_that_needs_the_whole_gradient(override: str) -> None:
    (problem,) = problems("digits-staged", "learner.update=stage", override)
    assert "update = 'stage'" in problem
    assert override.partition("=")[0].rpartition(".")[2] in problem
    assert not problems("digits-staged", override)


def test_what_needs_two_settings_is_content_with_them() -> None:
    over_epochs = ["learner.alpha_over=epochs", "learner.alpha=linear:1.0:0.2"]
    (problem,) = problems("digits", *over_epochs, "training.epochs=1")
    assert "2 epochs" in problem
    (problem,) = problems("digits", "optimizer.name=sgd", "optimizer.nesterov=true")
    assert "optimizer.momentum above 0" in problem
    for recipe, *overrides in (
        ("digits", *over_epochs, "training.epochs=2"),
        ("digits", "learner.direction=reverse", "learner.label_smoothing=0.1"),
        ("digits", "optimizer.name=sgd", "optimizer.nesterov=true", "optimizer.momentum=0.9"),
        ("digits-staged", "training.compile=true", "model.by=graph"),
        ("digits-staged", "learner.window=4"),
        ("digits-noise-gce", "data.augment.mixup=0.2", "model.network=plain"),
    ):
        assert not problems(recipe, *overrides)


def test_problems_of_several_rules_come_at_once() -> None:
    overrides = ["learner.combine=mean", "training.patience=3", "data.validation=0.0", "watch.on_no_descent=stop"]
    assert len(problems("digits-staged", *overrides)) == 3
