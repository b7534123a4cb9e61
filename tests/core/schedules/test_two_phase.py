import torch
from tests.networks import BATCH, CLASSES, FEATURES, INPUTS, restless_extractor, small_batch, small_cascade
from torch import Tensor, nn

from torchsid import SID, Cascade, Stage


def test_phase_1_runs_without_gradients_and_phase_2_with_them() -> None:
    cascade = small_cascade(3)
    calls: list[tuple[nn.Module, bool]] = []
    for module in (cascade.extractor, *cascade.stages):
        module.register_forward_hook(lambda module, *_: calls.append((module, torch.is_grad_enabled())))
    SID(cascade, schedule="two_phase").backward(*small_batch())
    order = [cascade.extractor, *cascade.stages]
    assert calls == [(module, phase_2) for phase_2 in (False, True) for module in order]


def test_in_phase_2_no_stage_needs_anothers_output() -> None:
    """A stage whose second answer is nonsense changes no other stage's gradient: the teachers are those of phase 1."""

    class Forgetful(Stage):
        broken = False

        def forward(self, features: Tensor, log_belief: Tensor) -> tuple[Tensor, Tensor]:
            features, logits = super().forward(features, log_belief)
            return features, logits + 5.0 * logits.roll(1, -1) if self.broken and torch.is_grad_enabled() else logits

    x, target = small_batch()
    first, second = (stage.head for stage in small_cascade(2).stages)
    extractor = nn.Linear(INPUTS, FEATURES, dtype=torch.float64)
    cascade = Cascade(extractor, [Forgetful(first), Stage(second)], CLASSES).double()
    learner = SID(cascade, schedule="two_phase")
    found = []
    for broken in (False, True):
        cascade.zero_grad()
        cascade.stages[0].broken = broken
        learner.backward(x, target)
        found.append([p.grad.clone() for stage in cascade.stages for p in stage.head.parameters()])
    healthy, ill = found
    assert not torch.equal(healthy[0], ill[0])
    assert all(map(torch.equal, healthy[4:], ill[4:]))


def test_both_phases_draw_the_same_dropout_masks() -> None:
    cascade = small_cascade(2, extractor=restless_extractor())
    features: list[Tensor] = []
    cascade.extractor.register_forward_hook(lambda _module, _inputs, z: features.append(z.detach().clone()))
    SID(cascade, schedule="two_phase").backward(*small_batch())
    first, second = features
    assert first.shape == (BATCH, FEATURES)
    assert torch.equal(first, second)


def test_gradients_that_are_there_survive_phase_1() -> None:
    cascade = small_cascade(2)
    for parameter in cascade.parameters():
        parameter.grad = torch.ones_like(parameter)
    kept = [parameter.grad for parameter in cascade.parameters()]
    SID(cascade, schedule="two_phase").backward(*small_batch(), scale=0.0)
    assert all(p.grad is grad and bool((grad == 1).all()) for p, grad in zip(cascade.parameters(), kept, strict=True))
