"""The copy of the last stage's readout: how old it is, and what counts as a step."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid import SID, StagedCascade, staged_cascade
from torchsid.core.readout import ReadoutCopy
from torchsid.errors import CutError
from torchsid.models.classifiers.gpt import GPT


def layer(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 4, bias=bias)


@pytest.mark.parametrize("refresh", [1, 2, 5])
def test_it_is_what_the_layer_was_when_the_period_before_began(refresh: int) -> None:
    source, read = layer(), []
    copy = ReadoutCopy(source)
    copy.refresh = refresh
    nn.init.zeros_(source.weight)  # training begins with weights that were loaded later
    for step in range(13):
        copy.begin_step()
        read.append(copy.weight[0, 0].item())
        with torch.no_grad():
            source.weight.fill_(step + 1)
    assert read == [max(step // refresh - 1, 0) * refresh for step in range(13)]


@pytest.mark.parametrize("set_to_none", [True, False])
def test_batches_whose_gradients_add_up_are_one_step(set_to_none: bool) -> None:
    source = layer()
    copy, optimizer, steps = ReadoutCopy(source), torch.optim.SGD(source.parameters(), lr=0.1), []
    for _ in range(3):
        for _ in range(2):
            copy.begin_step()
            source(torch.ones(1, 3)).sum().backward()
            steps.append(int(copy.steps))
        optimizer.step()
        optimizer.zero_grad(set_to_none=set_to_none)
    assert steps == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("bias", [True, False])
def test_it_reads_as_the_layer_and_passes_gradients_to_what_it_reads_alone(bias: bool) -> None:
    source, x = layer(bias), torch.randn(2, 5, 3, requires_grad=True)
    copy = ReadoutCopy(source)
    torch.testing.assert_close(copy(x), source(x))
    copy(x).sum().backward()
    assert x.grad is not None
    assert source.weight.grad is None
    assert not list(copy.parameters())
    names = {"weight", "coming_weight", "steps", *(("bias", "coming_bias") if bias else ())}
    assert set(copy.state_dict()) == names


# A language model whose stages share it

TEXT = torch.randint(20, (4, 9), generator=torch.Generator().manual_seed(0))
X, Y = TEXT[:, :-1], TEXT[:, 1:]


def language_model(dtype: torch.dtype = torch.float32, **settings: Any) -> StagedCascade:
    """Three stages, each a block of width 8."""
    torch.manual_seed(0)
    model = GPT(X, 20, width=8, blocks=3, heads=2).to(dtype)
    return staged_cascade(model, 20, 3, X, **{"head": "readout", "max_head_share": 9.0, **settings})


def reference(cascade: StagedCascade, weight: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The gradients of `α·CE(y) + (1−α)·KL(p_{i−1} ‖ p_i)`, each stage by itself, by autograd alone."""
    model: Any = cascade.model
    h, alphas, previous = model.drop(model.tokens(X) + model.positions[: X.shape[1]]), (0.5, 0.5, 1.0), cascade.log_prior
    total = torch.zeros(())
    for block, head, alpha in zip(model.blocks, cascade.heads, alphas, strict=True):
        h = block(h)
        if alpha < 1:
            body: Any = head.body
            logits = body.scale * body.norm(body.blocks(h)) @ weight.T
        else:
            logits = model.readout(model.norm(h))
        log_p = logits.log_softmax(-1)
        divergence = (previous.exp() * (previous - log_p)).sum(-1).mean()
        total = total + alpha * F.cross_entropy(logits.flatten(0, 1), target.flatten()) + (1 - alpha) * divergence
        h, previous = h.detach(), log_p.detach()
    names = dict(cascade.named_parameters())
    found = torch.autograd.grad(total, list(names.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}


def test_gradients_are_those_of_autograd_and_none_reaches_the_readout_of_others() -> None:
    cascade = language_model(torch.float64)
    learner, optimizer = SID(cascade, alpha="step:0.5:1"), torch.optim.SGD(cascade.parameters(), lr=0.5)
    assert cascade.readout is not None
    for parameter in cascade.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    before = cascade.model.readout.weight.detach().clone()  # type: ignore[union-attr, operator]
    for _ in range(3):  # the copy differs from the readout in the third
        optimizer.zero_grad()
        expected = None
        learner.backward(X, Y)
        expected = reference(cascade, before, Y)
        found = {name: parameter.grad for name, parameter in cascade.named_parameters()}
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, msg=name)
        before = cascade.readout.coming_weight.clone()  # type: ignore[operator]
        optimizer.step()
    learner = SID(cascade, alpha=1.0)
    cascade.zero_grad()
    learner.backward(X, Y, scale=torch.tensor([1.0, 1.0, 0.0]))
    weight: Any = cascade.model.readout.weight  # type: ignore[union-attr]
    assert not weight.grad.any()


def test_the_model_keeps_its_state_dict_and_a_resumed_cascade_goes_on_to_the_bit() -> None:
    straight, stopped = language_model(head_settings={"refresh": 2}), language_model(head_settings={"refresh": 2})
    assert straight.model.state_dict().keys() == GPT(X, 20, width=8, blocks=3, heads=2).state_dict().keys()
    assert {name for name in straight.state_dict() if "readout" in name} == {
        *("readout.weight", "readout.coming_weight", "readout.steps", "model.readout.weight")
    }

    def train(cascade: StagedCascade, steps: int) -> Tensor:
        learner = SID(cascade, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.5))
        return torch.stack([learner.step(X, Y).stage_losses for _ in range(steps)])

    expected = train(straight, 7)
    first = train(stopped, 3)
    resumed = language_model(head_settings={"refresh": 2})
    resumed.load_state_dict(stopped.state_dict())
    assert torch.equal(torch.cat([first, train(resumed, 4)]), expected)
    assert torch.equal(resumed.log_beliefs(X), straight.log_beliefs(X))


def test_residual_heads_add_vectors_in_the_basis_of_the_readout_and_begin_with_the_prior() -> None:
    log_prior = torch.arange(20.0).log_softmax(-1)
    cascade = language_model(residual=True, log_prior=log_prior)
    assert torch.allclose(cascade.log_beliefs(X)[:-1], log_prior)
    learner = SID(cascade, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.5))
    for _ in range(5):  # within which a parameter that never moved would be a warning
        learner.step(X, Y)
    u, told, copy = torch.zeros(4, 8, 8), cascade.log_beliefs(X), cascade.readout
    assert copy is not None

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        nonlocal u
        if stage < 2:
            u = u + cascade.heads[stage].hidden(tensors[0])  # type: ignore[operator]
            expected = (log_prior + u @ copy.weight.T).log_softmax(-1)
            torch.testing.assert_close(told[stage + 1], expected)
        return tensors

    cascade.run(X, close)
    assert torch.equal(told[3], cascade.model(X).log_softmax(-1))
    assert not torch.allclose(told[1], told[2], atol=1e-3)


def test_later_tokens_change_no_earlier_answer() -> None:
    cascade, changed = language_model(), X.clone()
    nn.init.normal_(cascade.heads[0].body.blocks[0].attn.proj.weight)  # type: ignore[union-attr, index, arg-type]
    changed[:, 5:] = 7
    before, after = cascade.log_beliefs(X), cascade.log_beliefs(changed)
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert not torch.equal(before[:, :, 5:], after[:, :, 5:])


@pytest.mark.parametrize(("share", "blocks"), [(0.25, 0), (2.0, 1)])
def test_auto_takes_it_with_a_block_where_that_fits_the_budget(share: float, blocks: int) -> None:
    cascade = language_model(head="auto", max_head_share=share)
    assert cascade.readout is not None
    assert [len(head.body.blocks) for head in cascade.heads[:-1]] == 2 * [blocks]


def test_where_each_token_is_answered_the_first_and_the_last_stage_learn_from_the_target_alone() -> None:
    cascade = language_model()
    assert SID(cascade).objective.alphas(3) == (1.0, 0.75, 1.0)
    assert SID(cascade, alpha=0.5).objective.alphas(3) == (0.5, 0.5, 0.5)


def test_tied_weights_are_named_with_the_way_out() -> None:
    model = GPT(X, 20, width=8, blocks=3, heads=2)
    model.readout.weight = model.tokens.weight
    for stages in (3, ["blocks.0", "blocks.1"]):
        with pytest.raises(
            CutError,
            match=r"parameter tokens.weight, which is readout.weight as well.*model.readout.weight = nn.Parameter\(.*clone",
        ):
            staged_cascade(model, 20, stages, X)
