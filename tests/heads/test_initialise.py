import math
from typing import get_args

import pytest
import torch

from torchsid.heads import HeadKind, MLPHead
from torchsid.heads.initialise import Init, initialise

F, C, H = 300, 10, 256


def head_of(init: Init, kind: HeadKind = "plain") -> MLPHead:
    torch.manual_seed(0)
    head = MLPHead(F, C, hidden=H, kind=kind)
    initialise(head, init)
    return head


def same(one: MLPHead, other: MLPHead) -> list[str]:
    """The names of the parameters that are equal."""
    return [name for name, value in one.state_dict().items() if torch.equal(value, other.state_dict()[name])]


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_pytorchs_own_draws_nothing_and_changes_nothing(kind: HeadKind) -> None:
    torch.manual_seed(0)
    untouched, after = MLPHead(F, C, hidden=H, kind=kind), torch.get_rng_state()
    assert len(same(head_of("pytorch", kind), untouched)) == 4
    assert torch.equal(torch.get_rng_state(), after)


def test_xavier_is_uniform_by_both_widths() -> None:
    for layer in (head_of("xavier").hidden, head_of("xavier").output):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_kaiming_is_normal_by_the_inputs() -> None:
    for layer in (head_of("kaiming").hidden, head_of("kaiming").output):
        std = math.sqrt(2 / layer.in_features)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
        assert layer.weight.abs().max() > 3 * std  # no uniform distribution


def test_orthogonal_rows_are() -> None:
    for layer in (head_of("orthogonal").hidden, head_of("orthogonal").output):
        torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(layer.out_features), atol=1e-5, rtol=0)


@pytest.mark.parametrize("init", ["xavier", "kaiming", "orthogonal"])
@pytest.mark.parametrize("kind", ["plain", "residual"])
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


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown init 'xavierr' \(did you mean 'xavier'\?\)"):
        initialise(MLPHead(F, C), "xavierr")  # type: ignore[arg-type]


def test_every_init_lets_the_head_learn() -> None:
    for init in get_args(Init):
        head = head_of(init)
        logits = head(torch.randn(8, F), torch.full((8, C), -math.log(C)))
        logits.log_softmax(-1)[:, 0].sum().backward()
        assert head.output.weight.grad is not None, init
        assert head.output.weight.grad.any(), init
