import pytest
import torch
from torch import Tensor, nn

from tests.networks import (
    FEATURES,
    INPUTS,
    assert_untouched,
    frozen_extractor,
    normed_cascade,
    restless_extractor,
    small_batch,
    small_cascade,
    snapshot,
    staged_cascade,
)
from torchsid import SID, Cascade, Stage, gradient_conflict
from torchsid.core import schedules


class Tilt(nn.Module):
    """A head that reads `sign · features` and ignores the previous belief."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = sign
        self.linear = nn.Linear(FEATURES, 2, bias=False)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.weight[0] = sign
            self.linear.weight[1] = -sign

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        return self.linear(features - features.detach()) + 0 * log_belief  # a slope at logits 0: the losses' gradients are equal


def tilted(*signs: float) -> Cascade:
    return Cascade(nn.Linear(INPUTS, FEATURES), [Stage(Tilt(sign)) for sign in signs], 2).double()


def conflict(cascade: Cascade, schedule: str = "streaming") -> Tensor:
    x, target = small_batch()
    return gradient_conflict(SID(cascade, schedule=schedule, alpha=1.0), x, target % cascade.num_classes)


@pytest.mark.parametrize("schedule", schedules.names())
def test_identical_stages_agree(schedule: str) -> None:
    torch.testing.assert_close(conflict(tilted(1.0, 1.0, 1.0), schedule), torch.ones(3, 3))


@pytest.mark.parametrize("schedule", schedules.names())
def test_opposite_stages_conflict(schedule: str) -> None:
    expected = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])
    torch.testing.assert_close(conflict(tilted(1.0, -2.0, 3.0), schedule), expected)


def test_a_stage_without_a_gradient_has_cosine_zero() -> None:
    cosines = conflict(tilted(1.0, 0.0))
    assert torch.equal(cosines, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))


@pytest.mark.parametrize("make", [small_cascade, normed_cascade])
@pytest.mark.parametrize("schedule", schedules.names())
def test_cosines_are_those_of_the_losses_gradients(schedule: str, make: type[Cascade]) -> None:
    cascade, (x, target) = make(5), small_batch()
    learner = SID(cascade, schedule=schedule)
    cosines = gradient_conflict(learner, x, target)
    z = cascade.extractor(x).detach().requires_grad_()
    teachers, log_target = cascade.log_beliefs(x).detach(), learner.log_target(x, target)
    flat = []
    for stage, previous in zip(cascade.stages, teachers[:-1], strict=True):
        loss = learner.objective(stage(z, previous)[1].log_softmax(-1), log_target, previous, 0.5).mean()
        flat.append(torch.autograd.grad(loss, z)[0].flatten())
    expected = torch.stack([torch.stack([torch.cosine_similarity(a, b, dim=0) for b in flat]) for a in flat])
    torch.testing.assert_close(cosines, expected.float())


def test_it_is_symmetric_with_a_unit_diagonal() -> None:
    cosines = conflict(small_cascade(6))
    assert cosines.shape == (6, 6)
    torch.testing.assert_close(cosines, cosines.T)
    torch.testing.assert_close(cosines.diagonal(), torch.ones(6))
    assert cosines.abs().max() <= 1


@pytest.mark.parametrize("schedule", schedules.names())
def test_everything_is_left_as_it_was(schedule: str) -> None:
    cascade = small_cascade(extractor=restless_extractor())
    SID(cascade).backward(*small_batch())
    before = snapshot(cascade)
    gradient_conflict(SID(cascade, schedule=schedule), *small_batch())
    assert_untouched(cascade, before)


@pytest.mark.parametrize("schedule", schedules.names())
@pytest.mark.parametrize("extractor", [nn.Identity, frozen_extractor])
def test_an_extractor_that_learns_nothing_has_no_conflict(extractor: type[nn.Module], schedule: str) -> None:
    with pytest.raises(ValueError, match=r"0 of 4 stages send the extractor a gradient.*extractor has parameters"):
        gradient_conflict(SID(small_cascade(extractor=extractor()), schedule=schedule), *small_batch())


def test_a_cut_trunk_has_no_conflict() -> None:
    with pytest.raises(ValueError, match=r"1 of 4 stages .* shared cascade"):
        gradient_conflict(SID(staged_cascade()), *small_batch())


def test_targets_are_checked() -> None:
    x, target = small_batch()
    with pytest.raises(ValueError, match="samples came with them"):
        gradient_conflict(SID(small_cascade()), x, target[:-1])
