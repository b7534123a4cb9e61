"""The paper's head, how its weights begin, and the cascade that is built of it."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.networks import (
    BATCH,
    CLASSES,
    FEATURES,
    INPUTS,
    assert_untouched,
    restless_extractor,
    small_batch,
    small_cascade,
    snapshot,
    staged_cascade,
)
from torchsid import SharedCascade, Stage, shared_cascade
from torchsid.core.beliefs import frequency_prior, to_log_belief, uniform_prior
from torchsid.core.shared import HeadKind, Init, MLPHead, initialise

ROWS = torch.randn(7, FEATURES, generator=torch.Generator().manual_seed(0))
F, C, H = 300, 10, 256
both_kinds = pytest.mark.parametrize("kind", ["plain", "residual"])


def log_belief(*where: int) -> torch.Tensor:
    return torch.randn(7, *where, CLASSES).log_softmax(-1)


def formula(head: MLPHead, features: torch.Tensor, belief: torch.Tensor) -> torch.Tensor:
    u = torch.cat([belief, features], -1)
    hidden = (u @ head.hidden.weight.T + head.hidden.bias).clamp(min=0)
    return hidden @ head.output.weight.T + head.output.bias


def test_plain_is_the_papers_formula_and_residual_adds_the_previous_belief() -> None:
    previous = log_belief()
    plain, residual = MLPHead(FEATURES, CLASSES, hidden=6), MLPHead(FEATURES, CLASSES, hidden=6, kind="residual")
    torch.testing.assert_close(plain(ROWS, previous), formula(plain, ROWS, previous.exp()))
    torch.testing.assert_close(to_log_belief(residual(ROWS, previous)), previous)  # the identity on beliefs, at first
    torch.nn.init.normal_(residual.output.weight)
    torch.testing.assert_close(residual(ROWS, previous), previous + formula(residual, ROWS, previous.exp()))


def test_tokens_are_read_one_by_one_and_slots_share_one_vector() -> None:
    tokens, previous = torch.randn(7, 3, FEATURES), log_belief(3)
    head = MLPHead(FEATURES, CLASSES, positions="tokens")
    torch.testing.assert_close(head(tokens, previous)[:, 1], head(tokens[:, 1], previous[:, 1]))
    slots = MLPHead(FEATURES, CLASSES, positions=(3,))
    expected = formula(slots, ROWS, previous.exp().flatten(1))
    torch.testing.assert_close(slots(ROWS, previous), expected.view(7, 3, CLASSES))


def test_the_belief_takes_the_precision_of_the_features_and_zeros_do_no_harm() -> None:
    assert MLPHead(FEATURES, CLASSES).bfloat16()(ROWS.bfloat16(), log_belief()).dtype == torch.bfloat16
    certain = torch.full((7, CLASSES), -torch.inf)
    certain[:, 0] = 0.0
    assert torch.isfinite(MLPHead(FEATURES, CLASSES)(ROWS, certain)).all()


def test_misspelt_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'residual'"):
        MLPHead(FEATURES, CLASSES, kind="residul")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"did you mean 'xavier'"):
        initialise(MLPHead(F, C), "xavierr")  # type: ignore[arg-type]


# How the weights begin


def head_of(init: Init, kind: HeadKind = "plain") -> MLPHead:
    torch.manual_seed(0)
    head = MLPHead(F, C, hidden=H, kind=kind)
    initialise(head, init)
    return head


def same(one: MLPHead, other: MLPHead) -> list[str]:
    """The names of the parameters that are equal."""
    return [name for name, value in one.state_dict().items() if torch.equal(value, other.state_dict()[name])]


@both_kinds
def test_pytorchs_own_draws_nothing_and_changes_nothing(kind: HeadKind) -> None:
    torch.manual_seed(0)
    untouched, after = MLPHead(F, C, hidden=H, kind=kind), torch.get_rng_state()
    assert len(same(head_of("pytorch", kind), untouched)) == 4
    assert torch.equal(torch.get_rng_state(), after)


def test_the_distributions_of_the_weights() -> None:
    for layer in (head_of("xavier").hidden, head_of("xavier").output):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    for layer in (head_of("kaiming").hidden, head_of("kaiming").output):
        std = math.sqrt(2 / layer.in_features)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
        assert layer.weight.abs().max() > 3 * std  # no uniform distribution
    for layer in (head_of("orthogonal").hidden, head_of("orthogonal").output):
        torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(layer.out_features), atol=1e-5, rtol=0)


@pytest.mark.parametrize("init", ["xavier", "kaiming", "orthogonal"])
@both_kinds
def test_biases_are_zero_and_a_residual_head_still_begins_as_the_identity(kind: HeadKind, init: Init) -> None:
    head = head_of(init, kind)
    assert not head.hidden.bias.any()
    assert not head.output.bias.any()
    assert bool(head.output.weight.any()) == (kind == "plain")
    assert "hidden.weight" not in same(head, head_of("pytorch", kind))


def test_zero_is_of_the_last_layer() -> None:
    plain, residual = head_of("zero"), head_of("zero", "residual")
    assert not plain.output.weight.any()
    assert not plain.output.bias.any()
    assert same(plain, head_of("pytorch")) == ["hidden.weight", "hidden.bias"]
    assert len(same(residual, head_of("pytorch", "residual"))) == 4


# The cascade


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
        (
            nn.Sequential(nn.Linear(INPUTS, FEATURES), nn.BatchNorm1d(FEATURES), nn.Sequential(nn.GELU(), nn.Dropout())),
            {},
            FEATURES,
        ),
        (nn.Sequential(nn.Linear(INPUTS, FEATURES), nn.LayerNorm(FEATURES), nn.Tanh()), {}, FEATURES),
    ],
    ids=["given", "declared", "of an example", "of the linear layer", "of the last linear layer", "behind a norm", "of a norm"],
)
def test_the_width_of_the_features(extractor: nn.Module, given: dict[str, object], expected: int) -> None:
    cascade = shared_cascade(extractor, CLASSES, 1, **given)  # type: ignore[arg-type]
    assert cascade.stages[0].head.hidden.in_features - CLASSES == expected


@pytest.mark.parametrize("extractor", [nn.Identity(), nn.Sequential(nn.Linear(INPUTS, 8), nn.GLU()), nn.Sequential()])
def test_a_width_that_cannot_be_seen_names_both_remedies(extractor: nn.Module) -> None:
    with pytest.raises(ValueError, match="give feature_dim or example"):
        shared_cascade(extractor, CLASSES, 1)


@pytest.mark.parametrize(
    ("extractor", "example", "positions", "said"),
    [
        (
            nn.Conv2d(1, 4, 3),
            torch.zeros(2, 1, 5, 5),
            (),
            r"Conv2d gives features \[B, 4, 3, 3\], but stages read \[B, F\]: end it",
        ),
        (nn.Linear(3, 4), torch.zeros(2, 6, 3), (2,), r"Linear gives features \[B, 6, 4\], but stages read \[B, F\]: end it with"),
        (nn.Linear(3, 4), torch.zeros(2, 3), "tokens", r"Linear gives features \[B, 4\], but stages read \[B, T, F\]"),
        (nn.LSTM(3, 4), torch.zeros(2, 6, 3), "tokens", "LSTM gives features a tuple, but stages read .*: return them alone"),
    ],
)
def test_features_that_no_stage_reads_are_refused_at_building(
    extractor: nn.Module, example: torch.Tensor, positions: object, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        shared_cascade(extractor, CLASSES, 2, feature_dim=4, example=example, positions=positions)  # type: ignore[arg-type]


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
    with pytest.raises(ValueError, match=r"num_classes=1: .*; .*feature_dim or example"):
        shared_cascade(nn.Identity(), num_classes=1, depth=2)
    with pytest.raises(ValueError, match="at least one stage"):
        SharedCascade(nn.Identity(), [], CLASSES)
