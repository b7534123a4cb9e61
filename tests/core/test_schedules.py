"""Every schedule gives the gradients of the algorithm as the paper states it, whatever the network, the target and the settings."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.core.reference import algorithm_1, smoothed
from tests.networks import (
    BATCH,
    CLASSES,
    FEATURES,
    INPUTS,
    SLOTS,
    assert_same_gradients,
    batch_at,
    frozen_extractor,
    gradients,
    normed_cascade,
    restless_extractor,
    rows,
    small_batch,
    small_cascade,
    staged_cascade,
)
from torchsid import SID, SharedCascade, Stage
from torchsid.core import schedules
from torchsid.core.cascade import Positions
from torchsid.errors import ScheduleError, TargetError
from torchsid.heads import HeadKind

DEPTH = 11  # no multiple of the stages that `batched` takes together
NETWORKS: dict[str, Callable[..., SharedCascade]] = {
    "plain": lambda **options: small_cascade(DEPTH, **options),
    "residual": lambda **options: small_cascade(DEPTH, stage="residual", **options),
    "own head": lambda **options: normed_cascade(DEPTH, **options),
}
SETTINGS: dict[str, dict[str, object]] = {
    "forward": {},
    "forward, smoothed, a sequence of alphas": {"label_smoothing": 0.1, "alpha": [(i + 1) / DEPTH for i in range(DEPTH)]},
    "reverse, a schedule of alphas": {"direction": "reverse", "label_smoothing": 0.05, "alpha": "cosine:1.0:0.1"},
    "forward, soft teachers": {"temperature": 2.0, "alpha": 0.3},
    "reverse, sharp teachers": {"direction": "reverse", "label_smoothing": 0.1, "temperature": 0.5},
}
EXTRACTORS: dict[str, Callable[[], nn.Module]] = {
    "dropout and batch norm": restless_extractor,
    "frozen": frozen_extractor,
    "identity": nn.Identity,
}
RUNS = [
    (schedule, network) for schedule in schedules.names() for network in NETWORKS if (schedule, network) != ("batched", "own head")
]
every_schedule = pytest.mark.parametrize("schedule", schedules.names())
every_run = pytest.mark.parametrize(("schedule", "network"), RUNS)


def assert_runs_as_the_paper(
    learner: SID,
    x: Tensor,
    target: Tensor,
    *,
    scale: float | list[float] = 1.0,
    weight: Tensor | None = None,
    tolerance: float = 1e-10,
) -> None:
    """Compare gradients, losses, beliefs and running statistics with the reference, from the same seed."""
    cascade, objective = learner.module, learner.objective
    assert isinstance(cascade, SharedCascade)
    expected = copy.deepcopy(cascade)
    torch.manual_seed(7)
    losses, beliefs = algorithm_1(
        expected,
        x,
        smoothed(target, CLASSES, objective.label_smoothing, x.dtype),
        alphas=objective.alphas(cascade.depth),
        direction=objective.direction,
        temperature=objective.temperature,
        scales=scale if isinstance(scale, list) else [scale] * cascade.depth,
        weight=weight,
    )
    torch.manual_seed(7)
    told: list[Tensor] = []
    output = learner.backward(
        x, target, scale=torch.tensor(scale), weight=weight, on_belief=lambda _, log_belief: told.append(log_belief)
    )
    assert_same_gradients(cascade, gradients(expected), tolerance)
    torch.testing.assert_close(output.stage_losses, losses, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(torch.stack(told).exp(), beliefs[1:], atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(output.log_belief, told[-1])
    torch.testing.assert_close(cascade.state_dict(), expected.state_dict())


@pytest.mark.parametrize("setting", SETTINGS)
@every_run
def test_gradients_are_the_papers(schedule: str, network: str, setting: str) -> None:
    x, classes = small_batch()
    learner = SID(NETWORKS[network](), schedule=schedule, **SETTINGS[setting])  # type: ignore[arg-type]
    assert_runs_as_the_paper(learner, x, classes)
    learner.module.zero_grad()
    assert_runs_as_the_paper(learner, x, rows())


@every_run
def test_in_single_precision(schedule: str, network: str) -> None:
    learner = SID(NETWORKS[network]().float(), schedule=schedule)  # type: ignore[arg-type]
    assert_runs_as_the_paper(learner, *small_batch(torch.float32), tolerance=1e-5)


@pytest.mark.parametrize("positions", [(), (SLOTS,), "tokens"], ids=str)
@pytest.mark.parametrize("stage", ["plain", "residual"])
@every_schedule
def test_positions_and_their_weights(schedule: str, stage: HeadKind, positions: Positions) -> None:
    cascade = small_cascade(DEPTH, stage=stage, positions=positions)
    x, target, weight = batch_at(positions)
    learner = SID(cascade, schedule=schedule)  # type: ignore[arg-type]
    assert_runs_as_the_paper(learner, x, target, weight=weight)
    cascade.zero_grad()
    assert_runs_as_the_paper(learner, x, target.clamp(min=0))


@every_schedule
def test_positions_without_weight_count_nowhere(schedule: str) -> None:
    """As if they were not there: neither their number nor what stands in them."""
    cascade = small_cascade(positions="tokens")
    x, target, _ = batch_at("tokens")
    target = target.clamp(min=0)
    learner = SID(cascade, schedule=schedule)  # type: ignore[arg-type]
    short = learner.backward(x[:, :2], target[:, :2])
    expected = gradients(cascade)
    cascade.zero_grad()
    weight = torch.tensor([1.0, 1.0, 0.0]).expand_as(target)
    long = learner.backward(x, target.masked_fill(weight == 0, 99), weight=weight)
    torch.testing.assert_close(long.stage_losses, short.stage_losses)
    assert_same_gradients(cascade, expected, 1e-12)
    cascade.zero_grad()
    nothing = learner.backward(x, target, weight=0 * weight)
    assert not nothing.stage_losses.any()
    assert not any(parameter.grad.any() for parameter in cascade.parameters())


@every_schedule
def test_targets_for_other_positions_are_refused(schedule: str) -> None:
    x, target, weight = batch_at("tokens")
    learner = SID(small_cascade(positions="tokens"), schedule=schedule)  # type: ignore[arg-type]
    for wrong in (target[:, 0], target[:, :2], target[:-1]):
        with pytest.raises(TargetError, match="the targets are for"):
            learner.backward(x, wrong.clamp(min=0))
    for bad in (weight[:, :2], -weight):
        with pytest.raises(ValueError, match="weight"):
            learner.backward(x, target, weight=bad)


@pytest.mark.filterwarnings("ignore:.*in evaluation mode")
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("extractor", EXTRACTORS)
@every_run
def test_whatever_the_extractor(schedule: str, network: str, extractor: str, mode: str) -> None:
    cascade = NETWORKS[network](extractor=EXTRACTORS[extractor]()).train(mode == "train")
    assert_runs_as_the_paper(SID(cascade, schedule=schedule), *small_batch())  # type: ignore[arg-type]


@every_run
def test_scales_multiply_the_stages_losses(schedule: str, network: str) -> None:
    scale = [0.0, 2.0, *[0.25] * (DEPTH - 3), -1.0]
    assert_runs_as_the_paper(SID(NETWORKS[network](), schedule=schedule), *small_batch(), scale=scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("combine", ["mean", "pcgrad"])
@every_run
def test_the_extractor_gets_the_same_combination_in_every_schedule(schedule: str, network: str, combine: str) -> None:
    cascade = NETWORKS[network]()
    expected = copy.deepcopy(cascade)
    SID(expected, schedule="two_phase", combine=combine).backward(*small_batch())  # type: ignore[arg-type]
    SID(cascade, schedule=schedule, combine=combine).backward(*small_batch())  # type: ignore[arg-type]
    assert_same_gradients(cascade, gradients(expected), 1e-10)
    if combine == "mean":
        summed = copy.deepcopy(cascade)
        summed.zero_grad()
        SID(summed).backward(*small_batch())
        for parameter in summed.extractor.parameters():
            parameter.grad /= DEPTH
        assert_same_gradients(cascade, gradients(summed), 1e-10)


@every_run
def test_gradients_are_added_to_what_is_there(schedule: str, network: str) -> None:
    cascade = NETWORKS[network]()
    learner = SID(cascade, schedule=schedule)  # type: ignore[arg-type]
    learner.backward(*small_batch())
    once = gradients(cascade)
    learner.backward(*small_batch())
    assert_same_gradients(cascade, {name: 2 * gradient for name, gradient in once.items()}, 1e-12)


@pytest.mark.filterwarnings("ignore:stage .* trains nothing of its own")
@every_run
def test_frozen_stages_still_advise_the_extractor(schedule: str, network: str) -> None:
    cascade = NETWORKS[network]()
    learner = SID(cascade, schedule=schedule)  # type: ignore[arg-type]
    cascade.stages[2].requires_grad_(False)
    if schedule == "batched":
        with pytest.raises(ScheduleError, match=r"stage 3 differs .* use 'streaming'"):
            learner.backward(*small_batch())
    else:
        assert_runs_as_the_paper(learner, *small_batch())
    cascade.zero_grad()
    cascade.stages.requires_grad_(False)
    assert_runs_as_the_paper(learner, *small_batch())
    assert all(parameter.grad is not None for parameter in cascade.extractor.parameters())
    cascade.zero_grad()
    cascade.requires_grad_(False)
    assert learner.backward(*small_batch()).log_belief.shape == (BATCH, CLASSES)
    assert all(parameter.grad is None for parameter in cascade.parameters())


@pytest.mark.parametrize("schedule", ["streaming", "two_phase"])
def test_stages_may_make_features_of_their_own(schedule: str) -> None:
    for direction in ({}, {"direction": "reverse", "label_smoothing": 0.1}):
        learner = SID(staged_cascade(), schedule=schedule, **direction)  # type: ignore[arg-type]
        assert_runs_as_the_paper(learner, *small_batch())
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in learner.module.parameters())
    mixed = staged_cascade(4)  # stages 1 and 2 read z, stage 2 makes features, which the others read
    mixed.stages[0] = small_cascade(1).stages[0]
    mixed.stages[2], mixed.stages[3] = small_cascade(2).stages
    assert_runs_as_the_paper(SID(mixed, schedule=schedule), *small_batch())  # type: ignore[arg-type]
    frozen = staged_cascade(3)
    frozen.stages[1].requires_grad_(False)
    with pytest.warns(UserWarning, match=r"^stage 2 trains nothing of its own: the rest is frozen"):
        SID(frozen, schedule=schedule).backward(*small_batch())  # type: ignore[arg-type]
    assert [any(p.grad is not None for p in stage.parameters()) for stage in frozen.stages] == [True, False, True]


@pytest.mark.parametrize("depth", [1, 8, 9])
@every_schedule
def test_any_depth(schedule: str, depth: int) -> None:
    assert_runs_as_the_paper(SID(small_cascade(depth), schedule=schedule), *small_batch())  # type: ignore[arg-type]


@every_schedule
def test_inputs_that_require_a_gradient_get_one(schedule: str) -> None:
    x, target = small_batch()
    x.requires_grad_()
    SID(small_cascade(), schedule=schedule).backward(x, target)  # type: ignore[arg-type]
    assert x.grad is not None
    assert x.grad.any()


class Pooled(nn.Module):
    """A head with running statistics on feature maps `[B, F, T]`."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        return log_belief + self.linear(self.norm(features).mean(-1))


@pytest.mark.parametrize("schedule", ["streaming", "two_phase"])
def test_features_may_be_more_than_vectors_and_statistics_count_once(schedule: str) -> None:
    x, target = small_batch()
    cascade = SharedCascade(nn.Conv1d(1, FEATURES, 3), [Stage(Pooled()) for _ in range(3)], CLASSES).double()
    assert_runs_as_the_paper(SID(cascade, schedule=schedule), x.unsqueeze(1), target)  # type: ignore[arg-type]
    assert [stage.head.norm.num_batches_tracked.item() for stage in cascade.stages] == [1, 1, 1]


def calls_of(cascade: SharedCascade, schedule: str) -> list[tuple[nn.Module, bool]]:
    calls: list[tuple[nn.Module, bool]] = []
    for module in (cascade.extractor, *cascade.stages):
        module.register_forward_hook(lambda module, *_: calls.append((module, torch.is_grad_enabled())))
    SID(cascade, schedule=schedule).backward(*small_batch())  # type: ignore[arg-type]
    return calls


def test_streaming_runs_everything_once_and_two_phases_twice() -> None:
    cascade = small_cascade(5)
    assert calls_of(cascade, "streaming") == [(module, True) for module in (cascade.extractor, *cascade.stages)]
    cascade = small_cascade(3)
    order = [cascade.extractor, *cascade.stages]
    assert calls_of(cascade, "two_phase") == [(module, phase_2) for phase_2 in (False, True) for module in order]


def test_in_phase_2_no_stage_needs_anothers_output() -> None:
    """A stage whose second answer is nonsense changes no other stage's gradient: the teachers are those of phase 1."""

    class Forgetful(Stage):
        broken = False

        def forward(self, features: Tensor, log_belief: Tensor) -> tuple[Tensor, Tensor]:
            features, logits = super().forward(features, log_belief)
            return features, logits + 5.0 * logits.roll(1, -1) if self.broken and torch.is_grad_enabled() else logits

    first, second = (stage.head for stage in small_cascade(2).stages)
    cascade = SharedCascade(nn.Linear(INPUTS, FEATURES), [Forgetful(first), Stage(second)], CLASSES).double()
    learner = SID(cascade, schedule="two_phase")
    found = []
    for broken in (False, True):
        cascade.zero_grad()
        cascade.stages[0].broken = broken
        learner.backward(*small_batch())
        found.append([p.grad.clone() for stage in cascade.stages for p in stage.head.parameters()])
    healthy, ill = found
    assert not torch.equal(healthy[0], ill[0])
    assert all(map(torch.equal, healthy[4:], ill[4:]))
