from dataclasses import replace

import pytest
import torch
from tests.networks import CLASSES, small_batch, small_cascade, staged_cascade
from torch import Tensor, nn

from torchsid import Cascade, Stage
from torchsid.core.schedules.combine import Sum
from torchsid.core.schedules.local_pass import local_pass
from torchsid.learners.sid import SID


def run(cascade: Cascade, weights: Tensor, **teachers: Tensor) -> list[Tensor]:
    """One local pass; returns the gradients that reached the combiner."""
    received: list[Tensor] = []

    class Recorder(Sum):
        def add(self, gradient: Tensor) -> None:
            received.append(gradient.clone())
            super().add(gradient)

    step = replace(SID(cascade).new_step(*small_batch(), scale=weights), combiner=Recorder())
    local_pass(step, cascade.extractor(step.x), **teachers)
    return received


def touched(cascade: Cascade) -> list[int]:
    """The stages of which a parameter has a gradient that is not zero."""
    return [i for i, stage in enumerate(cascade.stages) if any(p.grad is not None and p.grad.any() for p in stage.parameters())]


@pytest.mark.parametrize("make", [small_cascade, staged_cascade])
@pytest.mark.parametrize("sender", range(4))
def test_a_loss_reaches_its_own_stage_only(make: type[Cascade], sender: int) -> None:
    cascade = make(4)
    run(cascade, torch.eye(4)[sender])
    assert touched(cascade) == [sender]


def test_all_stages_of_a_shared_cascade_advise_the_extractor() -> None:
    assert len(run(small_cascade(4), torch.ones(4))) == 4


def test_only_the_first_stage_of_a_cut_trunk_advises_the_extractor() -> None:
    assert len(run(staged_cascade(4), torch.ones(4))) == 1


def test_features_may_change_hands_in_the_middle() -> None:
    """Stages 0 and 1 read z, stage 1 makes features of its own, stages 2 and 3 read those."""
    cascade = small_cascade(4)
    maker = staged_cascade(1).stages[0]
    mixed = Cascade(cascade.extractor, [cascade.stages[0], maker, *cascade.stages[2:]], CLASSES).double()
    assert len(run(mixed, torch.ones(4))) == 2
    assert touched(mixed) == [0, 1, 2, 3]


def test_the_graph_of_a_stage_is_gone_before_the_next_one_runs() -> None:
    alive: list[int] = []

    class Watched(Stage):
        def forward(self, features: Tensor, log_belief: Tensor) -> tuple[Tensor, Tensor]:
            alive.append(len(graphs))
            return super().forward(features, log_belief)

    class Token:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor
            graphs.add(id(self))

        def __del__(self) -> None:
            graphs.discard(id(self))

    graphs: set[int] = set()
    heads = [stage.head for stage in small_cascade(5).stages]
    cascade = Cascade(nn.Identity(), [Watched(head) for head in heads], CLASSES).double()
    cascade.extractor = nn.Linear(6, 5, dtype=torch.float64)
    with torch.autograd.graph.saved_tensors_hooks(Token, lambda token: token.tensor):
        run(cascade, torch.ones(5))
    assert alive == [alive[0]] * 5  # what the extractor keeps, and nothing of a stage


def test_teachers_that_are_given_are_used() -> None:
    cascade = small_cascade(3)
    x, _ = small_batch()
    sharp = torch.full((3, len(x), CLASSES), -30.0, dtype=torch.float64)
    sharp[..., 0] = 0.0
    first = run(cascade, torch.ones(3))
    second = run(cascade, torch.ones(3), teachers=sharp.log_softmax(-1))
    assert not torch.allclose(first[0], second[0])
