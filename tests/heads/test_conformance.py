"""Every head keeps the contract of `heads.create` on all features that it reads."""

import copy

import pytest
import torch

from tests.heads.samples import BATCH, CLASSES, ONE_BY_ONE, READABLE, READS, create, features, log_belief, randomise
from torchsid import heads
from torchsid.core.beliefs import to_log_belief

every_head = pytest.mark.parametrize(("kind", "form"), READABLE)
plain_and_residual = pytest.mark.parametrize("residual", [False, True])


def test_all_are_covered() -> None:
    assert {*READS, *ONE_BY_ONE} == set(heads.names())


@plain_and_residual
@every_head
def test_features_and_belief_become_logits(kind: str, form: str, residual: bool) -> None:
    for where in ((), (3,)):
        logits = randomise(create(kind, form, residual=residual, positions=where))(features(form), log_belief(where))
        assert logits.shape == (BATCH, *where, CLASSES)
        assert torch.isfinite(logits).all()


@plain_and_residual
@pytest.mark.parametrize("kind", ["linear", "mlp", "thin", "trunk"])
def test_tokens_may_be_answered_one_by_one(kind: str, residual: bool) -> None:
    head = randomise(create(kind, "tokens", residual=residual, positions="tokens", budget=10**6)).eval()
    x, previous = features("tokens"), log_belief((5,))
    logits = head(x, previous)
    assert logits.shape == previous.shape
    alone = head(x[:, :1], previous[:, :1])
    assert torch.allclose(alone, logits[:, :1], atol=1e-6) == (kind != "trunk")  # whose attention sees the other tokens


@every_head
def test_residual_starts_as_the_identity_on_beliefs_and_plain_with_an_opinion(kind: str, form: str) -> None:
    torch.testing.assert_close(to_log_belief(create(kind, form)(features(form), log_belief())), log_belief())
    assert create(kind, form, residual=False)(features(form), log_belief()).var(0).all()


@plain_and_residual
@every_head
def test_every_parameter_learns(kind: str, form: str, residual: bool) -> None:
    head = randomise(create(kind, form, residual=residual))
    head(features(form), log_belief()).log_softmax(-1)[:, 0].sum().backward()
    assert [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_head
def test_it_reads_both_the_features_and_the_belief(kind: str, form: str) -> None:
    head = randomise(create(kind, form, residual=False)).eval()
    x, previous = features(form).requires_grad_(), log_belief().requires_grad_()
    head(x, previous)[:, 0].sum().backward()
    assert all(x.grad[i].any() and previous.grad[i].any() for i in range(BATCH))


@every_head
def test_the_features_are_left_alone_and_samples_do_not_see_each_other(kind: str, form: str) -> None:
    head, x = randomise(create(kind, form)).eval(), features(form)
    together = head(x, log_belief())
    torch.testing.assert_close(together[1:2], head(features(form)[1:2], log_belief()[1:2]), atol=1e-5, rtol=1e-5)
    assert torch.equal(x, features(form))
    assert x._version == 0


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@every_head
def test_it_computes_in_its_own_precision(kind: str, form: str, dtype: torch.dtype, residual: bool) -> None:
    head = randomise(create(kind, form, residual=residual)).to(dtype).eval()
    logits = head(features(form).to(dtype), log_belief())
    assert logits.dtype == (torch.promote_types(dtype, torch.float32) if residual else dtype)
    exact = copy.deepcopy(head).double()(features(form).to(dtype).double(), log_belief().double())
    torch.testing.assert_close(logits.double(), exact, atol=0.1, rtol=0.1)


@every_head
def test_autocast(kind: str, form: str) -> None:
    head, x = randomise(create(kind, form)).eval(), features(form).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(x, log_belief())
    assert logits.dtype == torch.float32  # the belief's
    logits[:, 0].sum().backward()
    torch.testing.assert_close(logits, head(features(form), log_belief()), atol=0.1, rtol=0.1)


@every_head
def test_a_seed_fixes_the_weights(kind: str, form: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(create(kind, form, residual=False).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert all(module.training for module in create(kind, form, budget=10**9).modules())
