"""Which settings need or exclude each other."""

import pytest

from torchsid.errors import ConfigError
from torchsid.training.recipes import resolve


def problems(recipe: str, *overrides: str) -> tuple[str, ...]:
    try:
        resolve(recipe, overrides)
    except ConfigError as error:
        return error.problems
    return ()


@pytest.mark.parametrize(
    ("recipe", "override", "words"),
    [
        ("digits", "model.trunk=mlp", "model.network = 'staged'"),
        ("digits", "model.width=64", "model.network = 'staged'"),
        ("digits", 'model.cuts=["a"]', "model.network = 'staged'"),
        ("digits", "model.balance=work", "model.network = 'staged'"),
        ("digits", "model.by=graph", "model.network = 'staged'"),
        ("digits", "model.head=linear", "model.network = 'staged'"),
        ("digits", "model.max_head_share=0.5", "model.network = 'staged'"),
        ("digits", "learner.window=2", "model.network = 'staged'"),
        ("digits", "learner.update=stage", "model.network = 'staged'"),
        ("digits", "optimizer.head_learning_rate=0.1", "model.network = 'staged'"),
        ("digits-bp-plain", "model.width=64", "model.trunk"),
        ("digits-staged", "model.trunk=", "name it by model.trunk"),
        ("digits-staged", "model.extractor=mlp", "model.network = 'cascade'"),
        ("digits-staged", "model.feature_dim=64", "model.network = 'cascade'"),
        ("digits-staged", "model.hidden=64", "model.network = 'cascade'"),
        ("digits-staged-bp", "model.hidden=64", "model.network = 'cascade'"),
        ("digits-staged", 'model.cuts=["blocks.1"]', "set model.depth = 2"),
        ("digits-staged", "learner.alpha=[0.5, 0.5]", "model.depth = 4"),
        ("digits-staged", "model.init=xavier", "model.network = 'cascade'"),
        ("digits-staged", "learner.name=deep-supervision", "learner.window = 4"),
        ("digits-bp-plain", "learner.name=deep-supervision", "set model.network = 'cascade'"),
        ("digits-staged", "learner.name=backprop", "set model.network = 'plain'"),
        ("digits-staged", "learner.name=gce", "set model.network = 'plain'"),
        ("digits-noise-elr", "augment.mixup=0.2", "set both to 0"),
        ("digits-noise-self-distillation", "augment.cutmix=1.0", "set both to 0"),
        ("digits-staged", "model.network=plain", "learner.name = 'backprop'"),
        ("digits-staged", "learner.schedule=batched", "model.network = 'cascade'"),
        ("digits-staged", "learner.combine=pcgrad", "model.network = 'cascade'"),
        ("digits-staged", "learner.window=5", "set it to 4"),
        ("digits-staged", "training.conflict=true", "shared extractor"),
        ("digits-staged", "training.compile=true", "model.by = 'graph'"),
        ("digits", "training.on_no_descent=stop", "training.certify = true"),
    ],
)
def test_what_does_not_go_together_is_one_problem_with_its_way_out(recipe: str, override: str, words: str) -> None:
    (problem,) = problems(recipe, override)
    assert words in problem
    assert override.partition("=")[0] in problem or override == "model.network=plain"


@pytest.mark.parametrize("override", ["learner.window=2", "training.clip_gradient=1.0", "training.on_non_finite=skip"])
def test_stages_that_are_updated_at_once_allow_nothing_that_needs_the_whole_gradient(override: str) -> None:
    (problem,) = problems("digits-staged", "learner.update=stage", override)
    assert "learner.update = 'stage'" in problem
    assert override.partition("=")[0] in problem
    assert not problems("digits-staged", override)


def test_a_schedule_over_one_epoch_leads_nowhere() -> None:
    over_epochs = ["learner.alpha_over=epochs", "learner.alpha=linear:1.0:0.2"]
    (problem,) = problems("digits", *over_epochs, "training.epochs=1")
    assert "learner.alpha_over = 'epochs'" in problem
    assert "training.epochs" in problem
    assert not problems("digits", *over_epochs, "training.epochs=2")


def test_all_problems_come_at_once() -> None:
    assert (
        len(problems("digits-staged", "model.hidden=8", "learner.combine=mean", "training.patience=3", "data.validation=0.0")) == 3
    )


def test_what_describes_stages_rests_in_a_twin() -> None:
    for override in ("model.depth=3", "model.stage=plain", "model.balance=work", "model.head=linear", "learner.window=4"):
        assert not problems("digits-staged-bp", override)
    assert not problems("digits-bp-plain", "model.depth=3")
    for override in ("learner.alpha=0.7", "learner.robust.elr_lambda=7.0", "augment.mixup=0.2", "model.network=plain"):
        assert not problems("digits-noise-gce", override)


@pytest.mark.parametrize(
    "overrides", [['model.cuts=["a", "b", "c"]'], ["learner.window=4"], ["training.compile=true", "model.by=graph"]]
)
def test_what_does_go_together(overrides: list[str]) -> None:
    assert not problems("digits-staged", *overrides)
