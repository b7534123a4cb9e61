"""What every cascade is, shared or staged; and how a shared one is built."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from tests.cut.classifiers import cut, images
from tests.networks import (
    BATCH,
    CLASSES,
    FEATURES,
    INPUTS,
    SLOTS,
    assert_untouched,
    batch_at,
    normed_cascade,
    restless_extractor,
    small_batch,
    small_cascade,
    snapshot,
    staged_cascade,
)
from torchsid import Cascade, SharedCascade, Stage, shared_cascade
from torchsid.core.beliefs import frequency_prior, uniform_prior
from torchsid.core.cascade import Positions
from torchsid.heads import HeadKind, MLPHead

CASCADES: dict[str, tuple[Callable[[], Cascade], Tensor]] = {
    "shared": (lambda: small_cascade(3), small_batch()[0]),
    "shared, residual": (lambda: small_cascade(3, stage="residual"), small_batch()[0]),
    "shared, own heads": (lambda: normed_cascade(3), small_batch()[0]),
    "shared, features change": (lambda: staged_cascade(3), small_batch()[0]),
    "staged by boundary": (lambda: cut("resnet-18"), images("resnet-18")[0]),
    "staged by graph": (lambda: cut("resnet-18", by="graph"), images("resnet-18")[0]),
}
any_cascade = pytest.mark.parametrize(("make", "x"), CASCADES.values(), ids=CASCADES)


@any_cascade
def test_beliefs_run_from_the_prior_to_the_answer(make: Callable[[], Cascade], x: Tensor) -> None:
    cascade = make()
    assert isinstance(cascade, Cascade)
    cascade.eval()
    log_beliefs = cascade.log_beliefs(x)
    where = (len(x), cascade.num_classes)
    assert log_beliefs.shape == (4, *where)
    torch.testing.assert_close(log_beliefs[0].exp(), torch.full(where, 1 / cascade.num_classes, dtype=torch.float64))
    torch.testing.assert_close(log_beliefs[-1], cascade(x).log_softmax(-1))
    torch.testing.assert_close(log_beliefs.exp().sum(-1), torch.ones(4, len(x), dtype=torch.float64))
    told: list[tuple[int, Tensor]] = []
    first = torch.randn(where, dtype=torch.float64).log_softmax(-1)
    cascade.refine(x, first, on_belief=lambda stage, log_belief: told.append((stage, log_belief)))
    assert [stage for stage, _ in told] == [-1, 0, 1, 2]
    assert torch.equal(told[0][1], first)
    torch.testing.assert_close(torch.stack([log_belief for _, log_belief in told]), cascade.log_beliefs(x, first))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@any_cascade
def test_beliefs_have_single_precision_at_least(make: Callable[[], Cascade], x: Tensor, dtype: torch.dtype) -> None:
    log_beliefs = make().to(dtype).log_beliefs(x.to(dtype))
    assert log_beliefs.dtype == torch.float32
    torch.testing.assert_close(log_beliefs.exp().sum(-1), torch.ones(log_beliefs.shape[:-1]))


@any_cascade
def test_a_state_dict_restores_the_answers_and_a_copy_is_independent(
    make: Callable[[], Cascade], x: Tensor, tmp_path: Path
) -> None:
    trained = make().eval()
    twin = copy.deepcopy(trained)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    trained.log_prior.copy_(torch.arange(1.0, trained.num_classes + 1).log().log_softmax(-1))
    expected = trained.log_beliefs(x)
    assert not torch.allclose(twin.log_beliefs(x), expected)
    save_model(trained, str(tmp_path / "model.safetensors"))
    assert load_model(twin, str(tmp_path / "model.safetensors")) == (set(), [])
    assert torch.equal(twin.log_beliefs(x), expected)
    assert not {id(p) for p in trained.parameters()} & {id(p) for p in twin.parameters()}


@any_cascade
def test_each_stage_parameter_belongs_to_one_stage(make: Callable[[], Cascade], x: Tensor) -> None:
    cascade = make()
    extractor = [f"extractor.{name}" for name, _ in getattr(cascade, "extractor", nn.Identity()).named_parameters()]
    owned = [name for stage in range(3) for name, _ in cascade.named_stage_parameters(stage)]
    assert sorted([*owned, *extractor]) == sorted(name for name, _ in cascade.named_parameters())
    assert all(cascade.get_parameter(name) is each for stage in range(3) for name, each in cascade.named_stage_parameters(stage))


@pytest.mark.parametrize("positions", [(), (SLOTS,), "tokens"], ids=str)
def test_beliefs_are_at_the_positions_asked_for(positions: Positions) -> None:
    x, target, _ = batch_at(positions)
    cascade = small_cascade(3, positions=positions)
    assert cascade.log_beliefs(x).shape == (4, *target.shape, CLASSES)
    assert cascade(x).shape == (*target.shape, CLASSES)


# The shared cascade


@pytest.mark.parametrize("log_prior", [None, torch.tensor([0.7, 0.1, 0.1, 0.1]).log()], ids=["uniform", "given"])
def test_residual_stages_start_as_the_identity_on_beliefs(log_prior: Tensor | None) -> None:
    cascade = shared_cascade(nn.Linear(INPUTS, FEATURES), CLASSES, 64, stage="residual", log_prior=log_prior)
    log_beliefs = cascade.log_beliefs(small_batch(torch.float32)[0])
    expected = uniform_prior(CLASSES) if log_prior is None else log_prior
    torch.testing.assert_close(log_beliefs, expected.expand_as(log_beliefs))


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_how_the_stages_begin(kind: HeadKind) -> None:
    def built(**init: str) -> dict[str, Tensor]:
        torch.manual_seed(0)
        return shared_cascade(nn.Linear(INPUTS, FEATURES), CLASSES, 3, stage=kind, **init).state_dict()  # type: ignore[arg-type]

    default = built()
    torch.manual_seed(0)
    extractor = nn.Linear(INPUTS, FEATURES)
    stages = [Stage(MLPHead(FEATURES, CLASSES, kind=kind)) for _ in range(3)]
    by_hand = SharedCascade(extractor, stages, CLASSES).state_dict()
    assert all(torch.equal(value, by_hand[name]) for name, value in default.items())  # the stream of random numbers is the same
    drawn = built(init="kaiming")
    assert torch.equal(drawn["extractor.weight"], default["extractor.weight"])
    assert not torch.equal(drawn["stages.2.head.hidden.weight"], default["stages.2.head.hidden.weight"])


def test_the_cascade_is_the_papers_recursion() -> None:
    cascade, (x, _) = small_cascade(3), small_batch()
    z, p = cascade.extractor(x), torch.full((BATCH, CLASSES), 1 / CLASSES, dtype=torch.float64)
    for stage in cascade.stages:
        p = stage.head(z, p.log()).softmax(-1)
    torch.testing.assert_close(cascade(x).softmax(-1), p)


def test_stages_of_a_cut_trunk_pass_features_on_and_gradients_cross() -> None:
    cascade, (x, _) = staged_cascade(2), small_batch()
    features = cascade.stages[0].trunk(cascade.extractor(x))
    logits = cascade.stages[1].head(cascade.stages[1].trunk(features), cascade.log_beliefs(x)[1])
    torch.testing.assert_close(cascade(x), logits)
    cascade(x).sum().backward()
    assert cascade.stages[0].trunk[0].weight.grad.any()


def test_the_prior_is_a_buffer_of_one_number_a_class() -> None:
    prior = frequency_prior(torch.tensor([5, 3, 1, 1]))
    cascade = shared_cascade(nn.Linear(INPUTS, FEATURES), CLASSES, 2, log_prior=prior)
    assert "log_prior" in cascade.state_dict()
    assert "log_prior" not in dict(cascade.named_parameters())
    torch.testing.assert_close(cascade.log_beliefs(small_batch(torch.float32)[0])[0], prior.expand(BATCH, -1))
    with pytest.raises(ValueError, match="log_prior has shape"):
        shared_cascade(nn.Linear(INPUTS, FEATURES), CLASSES, 2, log_prior=uniform_prior(3))


class Declares(nn.Module):
    feature_dim = FEATURES

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :FEATURES]


@pytest.mark.parametrize(
    ("extractor", "given", "expected"),
    [
        (Declares(), {"feature_dim": 3, "example": torch.randn(1, INPUTS)}, 3),
        (Declares(), {"example": torch.randn(1, 2)}, FEATURES),
        (nn.Sequential(nn.Conv1d(1, 4, 3), nn.Flatten()), {"example": torch.randn(2, 1, INPUTS)}, 16),
        (nn.Linear(INPUTS, FEATURES), {}, FEATURES),
        (nn.Sequential(nn.ReLU(), nn.Linear(INPUTS, FEATURES)), {}, FEATURES),
    ],
    ids=["given", "declared", "of an example", "of the linear layer", "of the last linear layer"],
)
def test_the_width_of_the_features(extractor: nn.Module, given: dict[str, object], expected: int) -> None:
    cascade = shared_cascade(extractor, CLASSES, 1, **given)  # type: ignore[arg-type]
    assert cascade.stages[0].head.hidden.in_features - CLASSES == expected


@pytest.mark.parametrize("extractor", [nn.Identity(), nn.Sequential(nn.Linear(INPUTS, 9), nn.ReLU()), nn.Sequential()])
def test_a_width_that_cannot_be_seen_names_both_remedies(extractor: nn.Module) -> None:
    with pytest.raises(ValueError, match="give feature_dim or example"):
        shared_cascade(extractor, CLASSES, 1)


def test_looking_at_an_example_leaves_no_trace() -> None:
    extractor = restless_extractor()
    extractor[1].eval()  # a frozen BatchNorm in an extractor that trains
    before = snapshot(extractor)
    shared_cascade(extractor, CLASSES, 1, example=torch.zeros(1, INPUTS))
    torch.set_rng_state(before.random)  # the stages were drawn
    assert_untouched(extractor, before)
    with pytest.raises(RuntimeError, match="shape"):
        shared_cascade(extractor, CLASSES, 1, example=torch.zeros(1, INPUTS + 1))
    assert_untouched(extractor, before)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"num_classes=1: .*; depth=0: .*; .*feature_dim or example"):
        shared_cascade(nn.Identity(), num_classes=1, depth=0)
    with pytest.raises(ValueError, match="at least one stage"):
        SharedCascade(nn.Identity(), [], CLASSES)
