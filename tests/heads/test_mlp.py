import pytest
import torch

from tests.heads.samples import CHANNELS, SHAPES, features
from tests.networks import CLASSES, FEATURES
from torchsid.core.beliefs import to_log_belief
from torchsid.heads import MLPHead
from torchsid.heads.mlp import MLPBody
from torchsid.heads.pool import MeanPool

FEATURE_ROWS = torch.randn(7, FEATURES, generator=torch.Generator().manual_seed(0))


def log_belief() -> torch.Tensor:
    return torch.randn(7, CLASSES).log_softmax(-1)


def test_plain_is_the_papers_formula() -> None:
    head, previous = MLPHead(FEATURES, CLASSES, hidden=6), log_belief()
    u = torch.cat([previous.exp(), FEATURE_ROWS], -1)
    hidden = (u @ head.hidden.weight.T + head.hidden.bias).clamp(min=0)
    torch.testing.assert_close(head(FEATURE_ROWS, previous), hidden @ head.output.weight.T + head.output.bias)


def test_residual_adds_the_previous_belief() -> None:
    head, previous = MLPHead(FEATURES, CLASSES, kind="residual"), log_belief()
    torch.nn.init.normal_(head.output.weight)
    plain = MLPHead(FEATURES, CLASSES, kind="plain")
    plain.load_state_dict(head.state_dict())
    torch.testing.assert_close(head(FEATURE_ROWS, previous), previous + plain(FEATURE_ROWS, previous))


def test_residual_starts_as_the_identity_on_beliefs() -> None:
    previous = log_belief()
    torch.testing.assert_close(to_log_belief(MLPHead(FEATURES, CLASSES, kind="residual")(FEATURE_ROWS, previous)), previous)


def test_residual_learns_from_the_start() -> None:
    """Zero output weights hold back the hidden layer for one step only: the output layer itself has a gradient."""
    head = MLPHead(FEATURES, CLASSES, kind="residual")
    head(FEATURE_ROWS, log_belief())[:, 0].sum().backward()
    assert head.output.weight.grad.any()


def test_the_belief_takes_the_precision_of_the_features() -> None:
    head = MLPHead(FEATURES, CLASSES).bfloat16()
    assert head(FEATURE_ROWS.bfloat16(), log_belief()).dtype == torch.bfloat16


def test_an_impossible_class_does_no_harm_to_a_plain_head() -> None:
    certain = torch.full((7, CLASSES), -torch.inf)
    certain[:, 0] = 0.0
    assert torch.isfinite(MLPHead(FEATURES, CLASSES)(FEATURE_ROWS, certain)).all()


def test_widths() -> None:
    head = MLPHead(FEATURES, CLASSES, hidden=11)
    assert (head.hidden.in_features, head.hidden.out_features, head.output.out_features) == (FEATURES + CLASSES, 11, CLASSES)


def test_a_misspelt_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown stage kind 'residul' \(did you mean 'residual'\?\); allowed: plain, residual"):
        MLPHead(FEATURES, CLASSES, kind="residul")  # type: ignore[arg-type]


def test_the_printed_form_tells_the_kinds_apart() -> None:
    assert repr(MLPHead(FEATURES, CLASSES)) != repr(MLPHead(FEATURES, CLASSES, kind="residual"))


@pytest.mark.parametrize("form", SHAPES)
def test_the_body_is_the_hidden_layer_on_pooled_features(form: str) -> None:
    body, x = MLPBody(CHANNELS, hidden=5), features(form)
    pooled = MeanPool(CHANNELS)(x)
    torch.testing.assert_close(body(x), (pooled @ body.hidden.weight.T + body.hidden.bias).clamp(min=0))
