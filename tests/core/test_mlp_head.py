import math
from typing import get_args

import pytest
import torch

from tests.networks import CLASSES, FEATURES
from torchsid.core.beliefs import to_log_belief
from torchsid.core.mlp_head import HeadKind, Init, MLPHead, initialise

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


@pytest.mark.parametrize("init", get_args(Init))
def test_every_init_lets_the_head_learn(init: Init) -> None:
    head = head_of(init)
    head(torch.randn(8, F), torch.full((8, C), -math.log(C))).log_softmax(-1)[:, 0].sum().backward()
    assert head.output.weight.grad is not None
    assert head.output.weight.grad.any()
