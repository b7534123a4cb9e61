import pytest
import torch
from tests.networks import (
    CLASSES,
    FEATURES,
    INPUTS,
    NormedHead,
    TrunkStage,
    assert_same_gradients,
    gradients,
    normed_cascade,
    small_batch,
    small_cascade,
)
from torch import Tensor, nn

from torchsid import SID, Cascade, Stage
from torchsid.core.schedules import mlp_stack
from torchsid.core.schedules.step import Step
from torchsid.errors import ScheduleError
from torchsid.heads import MLPHead


def backward(cascade: Cascade) -> None:
    SID(cascade.double(), schedule="batched").backward(*small_batch())


def cascade_of(*stages: Stage) -> Cascade:
    return Cascade(nn.Linear(INPUTS, FEATURES), stages, CLASSES)


def mlp_stage(hidden: int = 7, *, feature_dim: int = FEATURES) -> Stage:
    return Stage(MLPHead(feature_dim, CLASSES, hidden=hidden))


def test_stages_of_different_width_are_refused() -> None:
    with pytest.raises(ScheduleError, match=r"stage 3 differs in structure from stage 1: use schedule='streaming'"):
        backward(cascade_of(mlp_stage(), mlp_stage(), mlp_stage(hidden=8)))


def test_stages_of_different_kind_are_refused() -> None:
    with pytest.raises(ScheduleError, match="stage 2 differs"):
        backward(cascade_of(mlp_stage(), Stage(MLPHead(FEATURES, CLASSES, hidden=7, kind="residual"))))


def test_tied_parameters_are_refused() -> None:
    cascade = cascade_of(*(mlp_stage() for _ in range(4)))
    cascade.stages[3].head.output.weight = cascade.stages[1].head.output.weight
    with pytest.raises(ScheduleError, match=r"stages 2 and 4 share the parameter head.output.weight"):
        backward(cascade)


def test_stages_with_features_of_their_own_are_refused() -> None:
    with pytest.raises(ScheduleError, match=r"stage 2 is a TrunkStage, which may make features of its own"):
        backward(cascade_of(Stage(NormedHead()), TrunkStage()))


def test_all_problems_are_named_at_once_and_nothing_is_touched() -> None:
    cascade = cascade_of(mlp_stage(), mlp_stage(hidden=8), TrunkStage())
    with pytest.raises(ScheduleError, match=r"stage 2 differs.*stage 3 is a TrunkStage"):
        backward(cascade)
    assert all(parameter.grad is None for parameter in cascade.parameters())


def test_own_heads_go_through_vmap_and_mlp_heads_through_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Cascade] = []
    closed_form = mlp_stack.differentiate

    def spy(step: Step, *arguments: object) -> object:
        taken.append(step.cascade)
        return closed_form(step, *arguments)

    monkeypatch.setattr(mlp_stack, "differentiate", spy)
    closed, stacked = small_cascade(), normed_cascade()
    backward(stacked)
    assert taken == []
    backward(closed)
    assert taken == [closed]


def test_dropout_in_a_stage_draws_one_mask_a_stage() -> None:
    class Dropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(0.5)
            self.linear = nn.Linear(FEATURES, CLASSES)

        def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
            return self.linear(self.dropout(features)) + 0 * log_belief

    cascade = cascade_of(*(Stage(Dropped()) for _ in range(3)))
    for stage in cascade.stages[1:]:  # with alpha = 1 and equal weights, nothing but the masks can differ
        stage.load_state_dict(cascade.stages[0].state_dict())
    SID(cascade.double(), schedule="batched", alpha=1.0).backward(*small_batch())
    first, second, third = (stage.head.linear.weight.grad for stage in cascade.stages)
    assert torch.isfinite(first).all()
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_an_unused_parameter_gets_no_gradient_as_in_streaming() -> None:
    class Spare(NormedHead):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Parameter(torch.ones(2))

    torch.manual_seed(5)
    cascade = cascade_of(*(Stage(Spare()) for _ in range(3))).double()
    SID(cascade, schedule="streaming").backward(*small_batch())
    expected = gradients(cascade)
    cascade.zero_grad()
    backward(cascade)
    assert expected["stages.1.head.spare"] is None
    assert_same_gradients(cascade, expected, 1e-12)


@pytest.mark.parametrize("make", [small_cascade, normed_cascade])
def test_a_second_step_does_not_write_into_another_stages_gradient(make: type[Cascade]) -> None:
    """A fresh `.grad` is a view of the stack's; adding to one must not change its neighbours."""
    cascade = make(4)
    backward(cascade)
    before = gradients(cascade)
    for parameter in cascade.stages[1].parameters():
        parameter.grad.zero_()
    unchanged = [name for name, gradient in gradients(cascade).items() if torch.equal(gradient, before[name])]
    assert unchanged == [name for name in before if not name.startswith("stages.1.")]
