import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model, save_model
from tests.networks import (
    BATCH,
    CLASSES,
    FEATURES,
    INPUTS,
    assert_untouched,
    normed_cascade,
    restless_extractor,
    small_batch,
    small_cascade,
    snapshot,
    staged_cascade,
)
from torch import nn

from torchsid import Cascade, Stage, shared_cascade
from torchsid.core.beliefs import frequency_prior, uniform_prior
from torchsid.heads import HeadKind, MLPHead

MAKERS = pytest.mark.parametrize("make", [small_cascade, normed_cascade, staged_cascade])


@MAKERS
def test_beliefs_run_from_the_prior_to_the_answer(make: type[Cascade]) -> None:
    cascade, (x, _) = make(5), small_batch()
    log_beliefs = cascade.log_beliefs(x)
    assert log_beliefs.shape == (6, BATCH, CLASSES)
    torch.testing.assert_close(log_beliefs[0].exp(), torch.full((BATCH, CLASSES), 1 / CLASSES, dtype=torch.float64))
    torch.testing.assert_close(log_beliefs[-1], cascade(x).log_softmax(-1))


@MAKERS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_beliefs_are_normalised(make: type[Cascade], dtype: torch.dtype) -> None:
    log_beliefs = make(5).to(dtype).log_beliefs(small_batch(dtype)[0])
    assert log_beliefs.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(log_beliefs.exp().sum(-1), torch.ones(6, BATCH, dtype=log_beliefs.dtype))


@pytest.mark.parametrize("log_prior", [None, torch.tensor([0.7, 0.1, 0.1, 0.1]).log()], ids=["uniform", "given"])
@pytest.mark.parametrize("depth", [1, 64])
def test_residual_stages_start_as_the_identity_on_beliefs(depth: int, log_prior: torch.Tensor | None) -> None:
    cascade = shared_cascade(nn.Linear(INPUTS, FEATURES), CLASSES, depth, stage="residual", log_prior=log_prior)
    log_beliefs = cascade.log_beliefs(small_batch(torch.float32)[0])
    expected = uniform_prior(CLASSES) if log_prior is None else log_prior
    torch.testing.assert_close(log_beliefs, expected.expand_as(log_beliefs))


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_how_the_stages_begin(kind: HeadKind) -> None:
    def built(**init: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return shared_cascade(nn.Linear(INPUTS, FEATURES), CLASSES, 3, stage=kind, **init).state_dict()  # type: ignore[arg-type]

    default = built()
    torch.manual_seed(0)
    extractor = nn.Linear(INPUTS, FEATURES)
    stages = [Stage(MLPHead(FEATURES, CLASSES, kind=kind)) for _ in range(3)]
    by_hand = Cascade(extractor, stages, CLASSES).state_dict()
    assert all(torch.equal(value, by_hand[name]) for name, value in default.items())  # the stream of random numbers is the same
    for init in ("pytorch", "xavier", "kaiming", "orthogonal", "zero"):
        weights = built(init=init)
        assert weights.keys() == default.keys()
        assert torch.equal(weights["extractor.weight"], default["extractor.weight"])
        drawn = not torch.equal(weights["stages.2.head.hidden.weight"], default["stages.2.head.hidden.weight"])
        assert drawn == (init not in ("pytorch", "zero"))


def test_plain_stages_can_begin_with_the_uniform_belief() -> None:
    log_beliefs = shared_cascade(nn.Linear(INPUTS, FEATURES), CLASSES, 3, init="zero").log_beliefs(small_batch(torch.float32)[0])
    torch.testing.assert_close(log_beliefs, uniform_prior(CLASSES).expand_as(log_beliefs))


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_the_cascade_is_the_papers_recursion(kind: HeadKind) -> None:
    cascade, (x, _) = small_cascade(3, stage=kind), small_batch()
    z, p = cascade.extractor(x), torch.full((BATCH, CLASSES), 1 / CLASSES, dtype=torch.float64)
    for stage in cascade.stages:
        p = stage.head(z, p.log()).softmax(-1)
    torch.testing.assert_close(cascade(x).softmax(-1), p)


def test_stages_of_a_cut_trunk_pass_features_on() -> None:
    cascade, (x, _) = staged_cascade(2), small_batch()
    features = cascade.stages[0].trunk(cascade.extractor(x))
    logits = cascade.stages[1].head(cascade.stages[1].trunk(features), cascade.log_beliefs(x)[1])
    torch.testing.assert_close(cascade(x), logits)


def test_end_to_end_gradients_cross_the_stages() -> None:
    cascade, (x, _) = staged_cascade(3), small_batch()
    cascade(x).sum().backward()
    assert cascade.stages[0].trunk[0].weight.grad.any()


# The prior


def test_the_prior_is_a_buffer() -> None:
    prior = frequency_prior(torch.tensor([5, 3, 1, 1]))
    cascade = shared_cascade(nn.Linear(INPUTS, FEATURES), CLASSES, 2, log_prior=prior)
    assert "log_prior" in cascade.state_dict()
    assert "log_prior" not in dict(cascade.named_parameters())
    log_beliefs = cascade.log_beliefs(small_batch(torch.float32)[0])
    torch.testing.assert_close(log_beliefs[0], prior.expand(BATCH, -1))


def test_a_prior_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"log_prior has shape \(3,\); 4 classes need \[4\]"):
        shared_cascade(nn.Linear(INPUTS, FEATURES), CLASSES, 2, log_prior=uniform_prior(3))


# Saving


@MAKERS
def test_a_state_dict_restores_the_answers(make: type[Cascade], tmp_path: Path) -> None:
    x, _ = small_batch()
    torch.manual_seed(1)
    trained = make(3)
    trained.log_prior.copy_(torch.tensor([0.4, 0.3, 0.2, 0.1]).log())
    torch.manual_seed(2)
    fresh = make(3)
    assert not torch.allclose(fresh(x), trained(x))
    save_model(trained, str(tmp_path / "model.safetensors"))
    assert load_model(fresh, str(tmp_path / "model.safetensors")) == (set(), [])
    torch.testing.assert_close(fresh.log_beliefs(x), trained.log_beliefs(x), rtol=0, atol=0)


def test_a_copy_is_independent() -> None:
    cascade = small_cascade()
    twin = copy.deepcopy(cascade)
    nn.init.zeros_(twin.stages[0].head.hidden.weight)
    assert cascade.stages[0].head.hidden.weight.any()


# The width of the features


class Declares(nn.Module):
    feature_dim = FEATURES

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :FEATURES]


def width(cascade: Cascade) -> int:
    return cascade.stages[0].head.hidden.in_features - CLASSES


def test_the_width_given_comes_first() -> None:
    assert width(shared_cascade(Declares(), CLASSES, 1, feature_dim=3, example=torch.randn(1, INPUTS))) == 3


def test_the_width_declared_comes_second() -> None:
    assert width(shared_cascade(Declares(), CLASSES, 1, example=torch.randn(1, 2))) == FEATURES


def test_the_width_of_an_example() -> None:
    extractor = nn.Sequential(nn.Conv1d(1, 4, 3), nn.Flatten())
    assert width(shared_cascade(extractor, CLASSES, 1, example=torch.randn(2, 1, INPUTS))) == 16


@pytest.mark.parametrize("extractor", [nn.Linear(INPUTS, FEATURES), nn.Sequential(nn.ReLU(), nn.Linear(INPUTS, FEATURES))])
def test_the_width_of_the_last_linear_layer(extractor: nn.Module) -> None:
    assert width(shared_cascade(extractor, CLASSES, 1)) == FEATURES


@pytest.mark.parametrize("extractor", [nn.Identity(), nn.Sequential(nn.Linear(INPUTS, 9), nn.ReLU()), nn.Sequential()])
def test_a_width_that_cannot_be_seen_names_both_remedies(extractor: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"output width of (Identity|Sequential) cannot be seen.*give feature_dim or example"):
        shared_cascade(extractor, CLASSES, 1)


def test_looking_at_an_example_leaves_no_trace() -> None:
    extractor = restless_extractor()
    extractor[1].eval()  # a frozen BatchNorm in an extractor that trains
    before = snapshot(extractor)
    shared_cascade(extractor, CLASSES, 1, example=torch.zeros(1, INPUTS))
    assert [module.training for module in extractor.modules()] == before.modes
    torch.testing.assert_close(extractor.state_dict(), before.state, rtol=0, atol=0)


def test_an_example_that_does_not_fit_leaves_no_trace() -> None:
    extractor = restless_extractor()
    before = snapshot(extractor)
    with pytest.raises(RuntimeError, match="shape"):
        shared_cascade(extractor, CLASSES, 1, example=torch.zeros(1, INPUTS + 1))
    assert_untouched(extractor, before)


# Problems


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(
        ValueError, match=r"num_classes=1: .*2 classes or more; depth=0: .*1 stage or more; .*feature_dim or example"
    ):
        shared_cascade(nn.Identity(), num_classes=1, depth=0)


def test_a_cascade_without_stages_is_refused() -> None:
    with pytest.raises(ValueError, match="a cascade needs at least one stage: set depth to 1 or more"):
        Cascade(nn.Identity(), [], CLASSES)


def test_stages_may_come_from_a_generator() -> None:
    assert Cascade(nn.Identity(), (Stage(MLPHead(INPUTS, CLASSES)) for _ in range(3)), CLASSES).depth == 3
