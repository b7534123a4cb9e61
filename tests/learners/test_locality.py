"""`check_locality` proves locality where it holds, and finds who leaks to whom where it does not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.cut import toys
from tests.cut.classifiers import CASES, cut, images
from tests.networks import (
    FEATURES,
    assert_untouched,
    batch_at,
    normed_cascade,
    restless_extractor,
    small_batch,
    small_cascade,
    snapshot,
    staged_cascade,
)
from torchsid import SID, Backprop, SharedCascade, StepOutput, check_locality
from torchsid import staged_cascade as cut_model
from torchsid.core import schedules
from torchsid.core.beliefs import to_log_belief
from torchsid.core.cascade import Positions
from torchsid.core.step import Step
from torchsid.errors import LocalityError

SHARED: dict[str, Callable[[], SID]] = {
    **{schedule: lambda schedule=schedule: SID(small_cascade(), schedule=schedule) for schedule in schedules.names()},
    "own heads": lambda: SID(normed_cascade()),
    "cut by hand": lambda: SID(staged_cascade(), schedule="two_phase"),
    "pcgrad": lambda: SID(small_cascade(), combine="pcgrad"),
}


@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED)
def test_shared_cascades_are_local(make: Callable[[], SID]) -> None:
    report = check_locality(make(), *small_batch())
    assert (report.stages, report.runs, report.window) == (4, 4, 1)
    assert "local: none of 12 ordered pairs of stages exchanges a gradient" in str(report)


@pytest.mark.parametrize("positions", [(2,), "tokens"], ids=str)
@pytest.mark.parametrize("schedule", schedules.names())
def test_at_any_positions(schedule: str, positions: Positions) -> None:
    x, target, weight = batch_at(positions)
    check_locality(SID(small_cascade(positions=positions), schedule=schedule), x, target, weight=weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["boundary", "graph"])
@pytest.mark.parametrize("name", CASES)
def test_a_cut_classifier_is_local(name: str, by: str) -> None:
    cascade = cut(name, by=by)
    before = snapshot(cascade)
    report = check_locality(SID(cascade), *images(name))
    assert (report.stages, report.parameters, report.runs) == (3, len(list(cascade.parameters())), 4)
    assert_untouched(cascade, before)


@pytest.mark.parametrize(("depth", "runs"), [(1, 0), (2, 2), (3, 4), (5, 6), (9, 8)])
def test_two_runs_a_bit_tell_every_ordered_pair_apart(depth: int, runs: int) -> None:
    masks: list[Tensor] = []

    class Counting(SID):
        def backward(self, x: Tensor, target: Tensor, *, scale: Tensor, **rest: object) -> StepOutput:  # type: ignore[override]
            masks.append(scale)
            return super().backward(x, target, scale=scale)

    report = check_locality(Counting(small_cascade(depth)), *small_batch())
    assert (report.stages, report.runs, len(masks)) == (depth, runs, runs)
    if depth > 1:
        on = torch.stack(masks)
        on_off = (on.T @ (1 - on)) > 0  # [i, j]: a run in which the loss of i is on and that of j is off
        assert (on_off | torch.eye(depth, dtype=torch.bool)).all()


def test_with_a_window_each_loss_is_on_alone() -> None:
    report = check_locality(SID(cut("mlp"), window=2), *images("mlp"))
    assert (report.runs, report.window) == (3, 2)
    assert "no loss reaches back over more than 2 of 3 stages" in str(report)


@pytest.mark.parametrize("schedule", ["streaming", "two_phase"])
def test_tied_parameters_are_found(schedule: str) -> None:
    cascade = small_cascade()
    cascade.stages[3].head.output.weight = cascade.stages[1].head.output.weight
    with pytest.raises(LocalityError, match=r"loss of stage (2|4) changes .* 'stages.[13].head.output.weight'"):
        check_locality(SID(cascade, schedule=schedule), *small_batch())  # type: ignore[arg-type]
    cascade = small_cascade()
    cascade.stages[2].head.again = cascade.extractor[0]
    with pytest.raises(LocalityError, match=r"stage 3, parameter 'stages.2.head.again"):
        check_locality(SID(cascade, schedule=schedule), *small_batch())  # type: ignore[arg-type]


class Borrowing(nn.Module):
    """A head that uses a layer of another stage without owning it."""

    def __init__(self, own: nn.Module, borrowed: nn.Linear) -> None:
        super().__init__()
        self.own = own
        self.borrowed = [borrowed]  # a list hides the layer from `parameters()`

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        logits: Tensor = self.own(features, log_belief)
        return self.borrowed[0](features).sum(-1, keepdim=True) * logits


def with_borrower(borrower: int, owner: int, cascade: SharedCascade) -> SharedCascade:
    layer = nn.Linear(FEATURES, 2).double()
    cascade.stages[owner].head.lent = layer
    cascade.stages[borrower].head = Borrowing(cascade.stages[borrower].head, layer)
    return cascade


@pytest.mark.parametrize(("borrower", "owner"), [(0, 1), (1, 0), (3, 0), (1, 3), (2, 3)])
def test_a_borrowed_layer_is_found_and_both_stages_are_named(borrower: int, owner: int) -> None:
    cascade = with_borrower(borrower, owner, small_cascade())
    who = f"loss of stage {borrower + 1} changes the gradient of stage {owner + 1}"
    with pytest.raises(LocalityError, match=rf"{who}, parameter 'stages.{owner}.head.lent.weight'"):
        check_locality(SID(cascade), *small_batch())


def test_of_two_leaks_sender_and_receiver_belong_together() -> None:
    """Stage 4 leaks to 1 and stage 2 to 3, in the same run: 2 must not be blamed for 1."""
    cascade = with_borrower(1, 2, with_borrower(3, 0, small_cascade()))
    with pytest.raises(LocalityError, match=r"loss of stage 4 changes the gradient of stage 1|loss of stage 2 .* of stage 3"):
        check_locality(SID(cascade), *small_batch())


def leaky(step: Step) -> StepOutput:
    """A schedule that forgets to detach the belief."""
    cascade, objective = step.cascade, step.objective
    assert isinstance(cascade, SharedCascade)
    features, log_beliefs, losses = cascade.features(step.x), [cascade.prior(step.target)], []
    for stage, alpha in zip(cascade.stages, objective.alphas(cascade.depth), strict=True):
        log_belief = to_log_belief(stage(features, log_beliefs[-1])[1])
        losses.append(objective(log_belief, step.target, log_beliefs[-1], alpha).mean())
        log_beliefs.append(log_belief)
    (step.scales * torch.stack(losses)).sum().backward()
    return StepOutput(torch.stack(losses).detach(), log_beliefs[-1].detach())


@pytest.mark.parametrize("leaks", [False, True])
def test_a_schedule_that_forgets_to_detach_is_found_and_everything_is_left_as_it_was(leaks: bool) -> None:
    cascade = small_cascade(5, extractor=restless_extractor())
    learner = SID(cascade)
    learner.backward(*small_batch())
    cascade.stages[0].head.hidden.bias.grad = None
    before = snapshot(cascade)
    if leaks:
        learner.schedule = leaky
        with pytest.raises(LocalityError, match=r"loss of stage 2 changes the gradient of stage 1"):
            check_locality(learner, *small_batch())
    else:
        check_locality(learner, *small_batch())
    assert_untouched(cascade, before)


def leaking(model: nn.Module) -> SID:
    """A model that is cut on an example that shows nothing."""
    return SID(cut_model(model, toys.CLASSES, ["b", "c"], toys.X.abs(), head="linear", max_head_share=9.0))


def test_a_skip_that_some_batches_take_is_an_error() -> None:
    learner = leaking(toys.LeaksWhenNegative())
    learner.backward(toys.X.abs(), toys.TARGET)
    for run in (learner.backward, lambda *batch: check_locality(learner, *batch)):
        with pytest.raises(LocalityError, match=r"loss of stage 3 reaches back past its cut.*by='graph'"):
            run(-toys.X.abs(), toys.TARGET)


def test_a_skip_for_which_autograd_saves_nothing_is_found_by_the_check() -> None:
    learner = leaking(toys.LeaksWithoutSavedTensors())
    check_locality(learner, toys.X.abs(), toys.TARGET)
    with pytest.raises(LocalityError, match=r"the loss of stage 3 changes the gradient of stage 1, parameter 'model.shift'"):
        check_locality(learner, -toys.X.abs(), toys.TARGET)


def test_a_learner_with_one_loss_has_no_locality() -> None:
    with pytest.raises(ValueError, match="Backprop has one loss for the whole network"):
        check_locality(Backprop(cut("mlp")), *images("mlp"))  # type: ignore[arg-type]
