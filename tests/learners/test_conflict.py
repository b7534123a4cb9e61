from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.networks import (
    CLASSES,
    assert_untouched,
    batch_at,
    frozen_extractor,
    restless_extractor,
    small_batch,
    small_cascade,
    snapshot,
    staged_cascade,
)
from torchsid import SID, SharedCascade, gradient_conflict
from torchsid.core import schedules
from torchsid.core.cascade import Positions


def conflict(cascade: SharedCascade, schedule: str = "streaming") -> Tensor:
    x, target = small_batch()
    learner = SID(cascade, schedule=schedule, alpha=1.0)  # type: ignore[arg-type]
    return gradient_conflict(learner, x, target)


@pytest.mark.parametrize("positions", [(), "tokens"], ids=str)
@pytest.mark.parametrize("schedule", schedules.names())
def test_cosines_are_those_of_the_losses_gradients(schedule: str, positions: Positions) -> None:
    cascade = small_cascade(5, positions=positions)
    x, target, weight = batch_at(positions)
    learner = SID(cascade, schedule=schedule, alpha=0.5)  # type: ignore[arg-type]
    cosines = gradient_conflict(learner, x, target, weight=weight)
    z = cascade.extractor(x).detach().requires_grad_()
    teachers, log_target = cascade.log_beliefs(x).detach(), learner.log_target(target, weight)
    flat = []
    for stage, previous in zip(cascade.stages, teachers[:-1], strict=True):
        losses = learner.objective(stage(z, previous)[1].log_softmax(-1), log_target, previous, 0.5)
        flat.append(torch.autograd.grad((weight * losses).sum(), z)[0].flatten())
    expected = torch.stack([torch.stack([torch.cosine_similarity(a, b, dim=0) for b in flat]) for a in flat])
    torch.testing.assert_close(cosines, expected.float())
    assert torch.equal(cosines, cosines.T)
    with torch.no_grad():
        cascade.stages[2].head.hidden.weight[:, CLASSES:] = 0  # which does not read the features
    assert gradient_conflict(learner, x, target, weight=weight)[2].tolist() == [0.0] * 5


@pytest.mark.parametrize("schedule", schedules.names())
def test_everything_is_left_as_it_was(schedule: str) -> None:
    cascade = small_cascade(extractor=restless_extractor())
    SID(cascade).backward(*small_batch())
    before = snapshot(cascade)
    conflict(cascade, schedule)
    assert_untouched(cascade, before)


@pytest.mark.parametrize("make", [lambda: small_cascade(extractor=frozen_extractor()), staged_cascade], ids=["frozen", "cut trunk"])
def test_an_extractor_that_does_not_learn_from_all_has_no_conflict(make: Callable[[], SharedCascade]) -> None:
    with pytest.raises(ValueError, match=r"of 4 stages send the extractor a gradient"):
        conflict(make())
