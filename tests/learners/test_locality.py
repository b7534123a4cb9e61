import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.cut import toys
from tests.cut.classifiers import cut, images
from tests.networks import (
    CLASSES,
    FEATURES,
    assert_untouched,
    normed_cascade,
    restless_extractor,
    small_batch,
    small_cascade,
    snapshot,
    staged_cascade,
)
from torchsid import SID, Backprop, Cascade, StepOutput, check_locality
from torchsid import staged_cascade as cut_model
from torchsid.core import schedules
from torchsid.core.beliefs import to_log_belief
from torchsid.core.schedules.step import Step
from torchsid.errors import LocalityError
from torchsid.learners.locality import _bit_masks


@given(depth=st.integers(1, 130))
def test_every_ordered_pair_of_stages_is_told_apart(depth: int) -> None:
    masks = torch.stack(_bit_masks(depth)) if depth > 1 else torch.empty(0, depth)
    assert len(masks) == 2 * (depth - 1).bit_length()
    on_off = (masks.T @ (1 - masks)) > 0  # [i, j]: a run in which the loss of i is on and that of j is off
    assert (on_off | torch.eye(depth, dtype=torch.bool)).all()


@pytest.mark.parametrize("combine", ["sum", "pcgrad"])
@pytest.mark.parametrize("make", [small_cascade, normed_cascade])
@pytest.mark.parametrize("schedule", schedules.names())
def test_every_schedule_is_local(schedule: str, make: Callable[[], Cascade], combine: str) -> None:
    report = check_locality(SID(make(), schedule=schedule, combine=combine), *small_batch())
    assert str(report).startswith("local: none of 12 ordered pairs of stages exchanges a gradient (16 stage parameters, 4 runs")


@pytest.mark.parametrize("schedule", ["streaming", "two_phase"])
def test_a_cut_trunk_is_local(schedule: str) -> None:
    check_locality(SID(staged_cascade(), schedule=schedule), *small_batch())


@pytest.mark.parametrize(("depth", "runs"), [(1, 0), (2, 2), (3, 4), (4, 4), (5, 6), (8, 6), (9, 8), (64, 12)])
def test_it_takes_two_runs_a_bit(depth: int, runs: int) -> None:
    calls = []

    class Counting(SID):
        def backward(self, x: Tensor, target: Tensor, *, scale: float | Tensor = 1.0, **rest: object) -> StepOutput:
            calls.append(scale)
            return super().backward(x, target, scale=scale)

    report = check_locality(Counting(small_cascade(depth)), *small_batch())
    assert (report.stages, report.runs, len(calls)) == (depth, runs, runs)


@pytest.mark.parametrize("schedule", ["streaming", "two_phase"])
def test_a_tied_parameter_is_found(schedule: str) -> None:
    cascade = small_cascade()
    cascade.stages[3].head.output.weight = cascade.stages[1].head.output.weight
    with pytest.raises(
        LocalityError, match=r"loss of stage (2|4) changes the gradient of stage (2|4), parameter 'stages.[13].head.output.weight'"
    ):
        check_locality(SID(cascade, schedule=schedule), *small_batch())


class Borrowing(nn.Module):
    """A head that uses a layer of another stage without owning it."""

    def __init__(self, own: nn.Module, borrowed: nn.Linear) -> None:
        super().__init__()
        self.own = own
        self.borrowed = [borrowed]  # a list hides the layer from `parameters()`

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        logits: Tensor = self.own(features, log_belief)
        return self.borrowed[0](features).sum(-1, keepdim=True) * logits


def with_borrower(borrower: int, owner: int, cascade: Cascade) -> Cascade:
    layer = nn.Linear(FEATURES, 2).double()
    cascade.stages[owner].head.lent = layer
    cascade.stages[borrower].head = Borrowing(cascade.stages[borrower].head, layer)
    return cascade


@pytest.mark.parametrize(("borrower", "owner"), list(itertools.permutations(range(4), 2)))
def test_a_borrowed_layer_is_found_and_both_stages_are_named(borrower: int, owner: int) -> None:
    cascade = with_borrower(borrower, owner, small_cascade())
    who = f"loss of stage {borrower + 1} changes the gradient of stage {owner + 1}"
    message = rf"{who}, parameter 'stages.{owner}.head.lent.weight': detach what passes"
    with pytest.raises(LocalityError, match=message):
        check_locality(SID(cascade), *small_batch())


def test_of_two_leaks_sender_and_receiver_belong_together() -> None:
    """Stage 4 leaks to 1 and stage 2 to 3, in the same run: 2 must not be blamed for 1."""
    cascade = with_borrower(1, 2, with_borrower(3, 0, small_cascade()))
    with pytest.raises(LocalityError, match=r"loss of stage 4 changes the gradient of stage 1|loss of stage 2 .* of stage 3"):
        check_locality(SID(cascade), *small_batch())


def leaky(step: Step) -> StepOutput:
    """A schedule that forgets to detach the belief."""
    cascade, objective = step.cascade, step.objective
    features, log_beliefs, losses = cascade.extractor(step.x), [cascade.prior(step.x)], []
    for stage, alpha in zip(cascade.stages, objective.alphas(cascade.depth), strict=True):
        log_belief = to_log_belief(stage(features, log_beliefs[-1])[1])
        losses.append(objective(log_belief, step.log_target, log_beliefs[-1], alpha).mean())
        log_beliefs.append(log_belief)
    (step.scales * torch.stack(losses)).sum().backward()
    return StepOutput(torch.stack(losses).detach(), log_beliefs[-1].detach())


@pytest.mark.parametrize("depth", [2, 5])
def test_a_schedule_that_forgets_to_detach_is_found(depth: int) -> None:
    learner = SID(small_cascade(depth))
    learner.schedule = leaky
    with pytest.raises(LocalityError, match=r"loss of stage 2 changes the gradient of stage 1"):
        check_locality(learner, *small_batch())


def test_a_layer_of_the_extractor_inside_a_stage_is_found() -> None:
    cascade = small_cascade()
    cascade.stages[2].head.again = cascade.extractor[0]
    with pytest.raises(LocalityError, match=r"stage 3, parameter 'stages.2.head.again"):
        check_locality(SID(cascade), *small_batch())


@pytest.mark.parametrize("leaks", [False, True])
def test_everything_is_left_as_it_was(leaks: bool) -> None:
    cascade = small_cascade(extractor=restless_extractor())
    learner, batch = SID(cascade), small_batch()
    learner.backward(*batch)
    cascade.stages[0].head.hidden.bias.grad = None
    if leaks:
        learner.schedule = leaky
    before = snapshot(cascade)
    try:
        check_locality(learner, *batch)
    except LocalityError:
        assert leaks
    else:
        assert not leaks
    assert_untouched(cascade, before)


def test_impossible_targets_are_refused() -> None:
    with pytest.raises(ValueError, match=f"allowed are 0 to {CLASSES - 1}"):
        check_locality(SID(small_cascade()), small_batch()[0], small_batch()[1] + CLASSES)


# Staged cascades


@pytest.mark.parametrize("by", ["boundary", "graph"])
@pytest.mark.parametrize("name", ["simple-cnn", "mlp", "resnet-18", "resnet-18-imagenet", "vgg-11", "vit with dropout"])
def test_a_cut_classifier_is_local(name: str, by: str) -> None:
    cascade = cut(name, by=by)
    before = snapshot(cascade)
    report = check_locality(SID(cascade), *images(name))
    assert (report.stages, report.parameters, report.runs) == (3, len(list(cascade.parameters())), 4)
    assert_untouched(cascade, before)


def test_with_a_window_each_loss_is_on_alone() -> None:
    report = check_locality(SID(cut("mlp"), window=2), *images("mlp"))
    assert (report.runs, report.window) == (3, 2)
    assert str(report).startswith("local: no loss reaches back over more than 2 of 3 stages")


def leaking(model: nn.Module, by: str = "boundary") -> SID:
    """A model that is cut on an example that shows nothing."""
    return SID(cut_model(model, toys.CLASSES, ["b", "c"], toys.X.abs(), by=by, head="linear", max_head_share=9.0))


def test_a_skip_that_some_batches_take_is_an_error() -> None:
    learner = leaking(toys.LeaksWhenNegative())
    learner.backward(toys.X.abs(), toys.TARGET)
    message = "the loss of stage 3 reaches back past its cut, into a stage that is done.*by='graph', which carries such"
    with pytest.raises(LocalityError, match=message):
        learner.backward(-toys.X.abs(), toys.TARGET)
    with pytest.raises(LocalityError, match=message):
        check_locality(learner, -toys.X.abs(), toys.TARGET)


def test_a_skip_for_which_autograd_saves_nothing_is_found_by_the_check() -> None:
    learner = leaking(toys.LeaksWithoutSavedTensors())
    check_locality(learner, toys.X.abs(), toys.TARGET)
    with pytest.raises(LocalityError, match=r"the loss of stage 3 changes the gradient of stage 1, parameter 'model.shift'"):
        check_locality(learner, -toys.X.abs(), toys.TARGET)


def test_a_carried_skip_is_local() -> None:
    model = toys.LongSkip()
    check_locality(SID(cut_model(model, toys.CLASSES, ["b"], toys.X, by="graph", max_head_share=9.0)), toys.X, toys.TARGET)


def test_a_learner_with_one_loss_has_no_locality() -> None:
    with pytest.raises(ValueError, match="Backprop has one loss for the whole network"):
        check_locality(Backprop(cut("mlp")), *images("mlp"))  # type: ignore[arg-type]
