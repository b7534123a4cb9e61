"""Some outcomes in the place of all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.core.test_lazy_logits import example
from torchsid import SID, LocalObjective, StagedCascade, staged_cascade
from torchsid.core.candidates import Candidates
from torchsid.core.lazy_logits import learn
from torchsid.models.classifiers.gpt import GPT

V = 11
TARGET = torch.tensor([[3, 3, 7], [0, 7, 3]])


def language_model(head: str = "readout") -> tuple[StagedCascade, Tensor]:
    torch.manual_seed(0)
    x = torch.arange(6).view(2, 3) % V
    return staged_cascade(GPT(x, V, width=8, blocks=3, heads=2), V, 3, x, head=head, max_head_share=9.0).double(), x


@given(others=st.integers(0, 2 * V), seed=st.integers(0, 2**31))
def test_the_batch_s_outcomes_are_there_once_and_so_many_others(others: int, seed: int) -> None:
    torch.manual_seed(seed)
    few = Candidates.draw(TARGET, others, V)
    assert torch.equal(few.outcomes[few.places], TARGET)
    assert {0, 3, 7} <= set(few.outcomes.tolist())
    assert len(few.outcomes) == len(few.outcomes.unique()) == 3 + min(others, V - 3)


@pytest.mark.parametrize("bias", [True, False])
def test_the_sum_under_the_logarithm_is_right_on_average(bias: bool) -> None:
    logits = example(0, 2, 3, size=V, bias=bias)
    found: dict[tuple[int, ...], Tensor] = {}
    torch.manual_seed(0)
    while len(found) < 28:  # the pairs of the eight others
        few = Candidates.draw(TARGET, 2, V)
        z = F.linear(*few.of(logits).parts)
        found[tuple(few.outcomes.sort().values.tolist())] = z.exp().sum(-1)
    expected = F.linear(*logits.parts).exp().sum(-1)
    torch.testing.assert_close(torch.stack(list(found.values())).mean(0), expected)


@pytest.mark.parametrize("alpha", [1.0, 0.6])
def test_with_all_outcomes_nothing_changes(alpha: float) -> None:
    logits, teacher = example(0, 2, 3, size=V, requires_grad=True), example(1, 2, 3, size=V)
    few, factors = Candidates.draw(TARGET, V, V), torch.rand(2, 3, dtype=torch.float64)
    some, how = few.of(logits), (LocalObjective(), alpha, factors)
    found, expected = learn(some, few.places, few.of(teacher), *how), learn(logits, TARGET, teacher, *how)
    torch.testing.assert_close(found.losses, expected.losses)
    assert torch.equal(few.outcomes[found.answers], expected.answers)
    torch.testing.assert_close(found.gradients[0][1], expected.gradients[0][1])
    torch.autograd.backward(*zip(*found.gradients, strict=True))
    torch.testing.assert_close(logits.weight.grad, expected.gradients[1][1])


@pytest.mark.parametrize("head", ["readout", "linear"])
def test_stages_before_the_last_tell_the_candidates_apart_and_the_last_one_all(head: str) -> None:
    cascade, x = language_model(head)
    torch.manual_seed(1)
    out = SID(cascade, alpha=1.0, candidates=2).backward(x, TARGET)
    gradients = [parameter.grad for parameter in cascade.parameters()]
    cascade.zero_grad()
    torch.manual_seed(1)
    draws, losses = [Candidates.draw(TARGET, 2, V) for _ in range(2)], []

    def end(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        tensors, z = cascade.answer(stage, tensors, cascade.prior(tensors[0]))
        if stage < 2:
            z = z[..., draws[stage].outcomes] + draws[stage].stand_for
        losses.append(F.cross_entropy(z.flatten(0, 1), (draws[stage].places if stage < 2 else TARGET).flatten()))
        return [tensor.detach() for tensor in tensors]

    cascade.run(x, end)
    torch.stack(losses).sum().backward()
    torch.testing.assert_close(out.stage_losses, torch.stack(losses).detach())
    torch.testing.assert_close(gradients, [parameter.grad for parameter in cascade.parameters()])
    for stage, draw in enumerate(draws):
        assert torch.isin(out.answers[stage], draw.outcomes).all()


def test_what_cannot_be_is_said() -> None:
    cascade, x = language_model()
    with pytest.raises(ValueError, match=r"direction = 'forward', not 'reverse'.*; candidates need label_smoothing = 0.0, not 0.1"):
        SID(cascade, candidates=2, direction="reverse", label_smoothing=0.1)
    with pytest.raises(ValueError, match=r"candidates = 2: .* or choose the head 'readout'"):
        SID(language_model("mlp")[0], candidates=2)
    for target, asked in ((torch.rand(2, 3, V), {}), (TARGET, {"on_belief": print})):
        with pytest.raises(ValueError, match=r"candidates = 2: .* targets must be classes, and on_belief left out"):
            SID(cascade, candidates=2).backward(x, target, **asked)
