"""Every schedule gives the gradients of the algorithm as the paper states it, whatever the network, the target and the settings."""

import copy
from collections.abc import Callable

import pytest
import torch
from tests.networks import (
    BATCH,
    CLASSES,
    FEATURES,
    INPUTS,
    assert_same_gradients,
    frozen_extractor,
    gradients,
    normed_cascade,
    restless_extractor,
    rows,
    small_batch,
    small_cascade,
    staged_cascade,
)
from torch import Tensor, nn

from torchsid import SID, Cascade, Stage
from torchsid.core import schedules
from torchsid.core.schedules import mlp_stack
from torchsid.errors import ScheduleError

from .reference import algorithm_1, smoothed

DEPTH = mlp_stack.BLOCK + 3  # no multiple of the closed form's block
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
NETWORKS: dict[str, Callable[..., Cascade]] = {
    "plain": lambda **options: small_cascade(DEPTH, **options),
    "residual": lambda **options: small_cascade(DEPTH, stage="residual", **options),
    "own head": lambda **options: normed_cascade(DEPTH, **options),
}
SETTINGS = {
    "forward": {},
    "forward, smoothed, a sequence of alphas": {"label_smoothing": 0.1, "alpha": [(i + 1) / DEPTH for i in range(DEPTH)]},
    "reverse, smoothed": {"direction": "reverse", "label_smoothing": 0.1, "alpha": 0.3},
    "reverse, a schedule of alphas": {"direction": "reverse", "label_smoothing": 0.05, "alpha": "cosine:1.0:0.1"},
    "forward, soft teachers": {"temperature": 2.0, "alpha": 0.3},
    "reverse, sharp teachers": {"direction": "reverse", "label_smoothing": 0.1, "temperature": 0.5},
}
EXTRACTORS: dict[str, Callable[[], nn.Module]] = {
    "dropout and batch norm": restless_extractor,
    "frozen": frozen_extractor,
    "identity": nn.Identity,
}

every_schedule = pytest.mark.parametrize("schedule", schedules.names())
every_network = pytest.mark.parametrize("network", NETWORKS)


def assert_runs_as_the_paper(learner: SID, x: Tensor, target: Tensor, *, scale: float | list[float] = 1.0) -> None:
    """Compare gradients, losses, beliefs and running statistics with the reference, from the same seed."""
    cascade, objective, dtype = learner.module, learner.objective, x.dtype
    expected = copy.deepcopy(cascade)
    torch.manual_seed(7)
    losses, beliefs = algorithm_1(
        expected,
        x,
        smoothed(target, CLASSES, objective.label_smoothing, dtype),
        alphas=objective.alphas(cascade.depth),
        direction=objective.direction,
        temperature=objective.temperature,
        weights=scale if isinstance(scale, list) else [scale] * cascade.depth,
    )
    torch.manual_seed(7)
    output = learner.backward(x, target, scale=torch.tensor(scale, dtype=dtype))
    tolerance = TOLERANCE[dtype]
    assert_same_gradients(cascade, gradients(expected), tolerance)
    torch.testing.assert_close(output.stage_losses, losses, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(output.log_belief.exp(), beliefs[-1], atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(cascade.state_dict(), expected.state_dict())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("form", ["classes", "rows"])
@pytest.mark.parametrize("setting", SETTINGS)
@every_network
@every_schedule
def test_gradients_are_the_papers(schedule: str, network: str, setting: str, form: str, dtype: torch.dtype) -> None:
    x, classes = small_batch(dtype)
    learner = SID(NETWORKS[network]().to(dtype), schedule=schedule, **SETTINGS[setting])
    assert_runs_as_the_paper(learner, x, classes if form == "classes" else rows(dtype))


@every_schedule
def test_rows_with_full_support_need_no_smoothing_in_reverse(schedule: str) -> None:
    x, _ = small_batch()
    assert_runs_as_the_paper(SID(small_cascade(), direction="reverse", schedule=schedule), x, rows())


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("extractor", EXTRACTORS)
@every_network
@every_schedule
def test_whatever_the_extractor(schedule: str, network: str, extractor: str, mode: str) -> None:
    cascade = NETWORKS[network](extractor=EXTRACTORS[extractor]()).train(mode == "train")
    assert_runs_as_the_paper(SID(cascade, schedule=schedule), *small_batch())


@every_schedule
def test_running_statistics_count_a_batch_once(schedule: str) -> None:
    x, target = small_batch()
    cascade = small_cascade(extractor=restless_extractor())
    ordinary = copy.deepcopy(cascade)
    torch.manual_seed(3)
    ordinary(x)
    torch.manual_seed(3)
    SID(cascade, schedule=schedule).backward(x, target)
    torch.testing.assert_close(dict(cascade.named_buffers()), dict(ordinary.named_buffers()), rtol=0, atol=0)
    assert cascade.extractor[1].num_batches_tracked == 1


@every_network
@every_schedule
def test_weights_multiply_the_stages_losses(schedule: str, network: str) -> None:
    weight = [0.0, 2.0, *[0.25] * (DEPTH - 3), -1.0]
    assert_runs_as_the_paper(SID(NETWORKS[network](), schedule=schedule), *small_batch(), scale=weight)


@every_schedule
def test_mean_divides_the_extractors_gradient_alone(schedule: str) -> None:
    x, target = small_batch()
    cascade = small_cascade()
    expected = copy.deepcopy(cascade)
    SID(expected, schedule="two_phase", combine="sum").backward(x, target)
    for parameter in expected.extractor.parameters():
        parameter.grad /= expected.depth
    SID(cascade, schedule=schedule, combine="mean").backward(x, target)
    assert_same_gradients(cascade, gradients(expected), 1e-12)


@every_network
@pytest.mark.parametrize("schedule", ["streaming", "batched"])
def test_pcgrad_is_the_same_in_every_schedule(schedule: str, network: str) -> None:
    x, target = small_batch()
    cascade = NETWORKS[network]()
    expected = copy.deepcopy(cascade)
    SID(expected, schedule="two_phase", combine="pcgrad").backward(x, target)
    SID(cascade, schedule=schedule, combine="pcgrad").backward(x, target)
    assert_same_gradients(cascade, gradients(expected), 1e-10)


@every_network
@every_schedule
def test_gradients_are_added_to_what_is_there(schedule: str, network: str) -> None:
    x, target = small_batch()
    cascade = NETWORKS[network]()
    learner = SID(cascade, schedule=schedule)
    learner.backward(x, target)
    once = gradients(cascade)
    learner.backward(x, target)
    assert_same_gradients(cascade, {name: 2 * gradient for name, gradient in once.items()}, 1e-12)


@pytest.mark.parametrize("schedule", ["streaming", "two_phase"])
@every_network
def test_a_frozen_stage_still_advises_the_extractor(schedule: str, network: str) -> None:
    cascade = NETWORKS[network]()
    cascade.stages[2].requires_grad_(False)
    assert_runs_as_the_paper(SID(cascade, schedule=schedule), *small_batch())
    assert cascade.stages[2].head.get_parameter("norm.weight" if network == "own head" else "hidden.weight").grad is None


@every_network
def test_batched_names_the_frozen_stage(network: str) -> None:
    cascade = NETWORKS[network]()
    cascade.stages[2].requires_grad_(False)
    with pytest.raises(ScheduleError, match=r"stage 3 differs .* use schedule='streaming'"):
        SID(cascade, schedule="batched").backward(*small_batch())


@every_network
@every_schedule
def test_all_stages_frozen(schedule: str, network: str) -> None:
    cascade = NETWORKS[network]()
    cascade.stages.requires_grad_(False)
    assert_runs_as_the_paper(SID(cascade, schedule=schedule), *small_batch())
    assert all(parameter.grad is not None for parameter in cascade.extractor.parameters())


@every_network
@every_schedule
def test_everything_frozen(schedule: str, network: str) -> None:
    cascade = NETWORKS[network]().requires_grad_(False)
    output = SID(cascade, schedule=schedule).backward(*small_batch())
    assert output.log_belief.shape == (BATCH, CLASSES)
    assert all(parameter.grad is None for parameter in cascade.parameters())


@pytest.mark.parametrize("schedule", ["streaming", "two_phase"])
@pytest.mark.parametrize("setting", ["forward", "reverse, smoothed"])
def test_a_trunk_cut_by_hand(schedule: str, setting: str) -> None:
    learner = SID(staged_cascade(), schedule=schedule, **SETTINGS[setting])
    assert_runs_as_the_paper(learner, *small_batch())
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in learner.module.parameters())


@pytest.mark.parametrize("depth", [1, mlp_stack.BLOCK, mlp_stack.BLOCK + 1])
@every_schedule
def test_any_depth(schedule: str, depth: int) -> None:
    assert_runs_as_the_paper(SID(small_cascade(depth), schedule=schedule), *small_batch())


class Pooled(nn.Module):
    """A head on feature maps `[B, F, T]`."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, CLASSES)

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        return log_belief + self.linear(features.mean(-1))


class BatchNormed(nn.Module):
    """A head with running statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(FEATURES)
        self.linear = nn.Linear(FEATURES, CLASSES)

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        return log_belief + self.linear(self.norm(features))


@every_schedule
def test_features_may_be_more_than_vectors(schedule: str) -> None:
    x, target = small_batch()
    cascade = Cascade(nn.Conv1d(1, FEATURES, 3), [Stage(Pooled()) for _ in range(3)], CLASSES).double()
    assert_runs_as_the_paper(SID(cascade, schedule=schedule), x.unsqueeze(1), target)


@every_schedule
def test_running_statistics_inside_a_stage(schedule: str) -> None:
    cascade = Cascade(nn.Linear(INPUTS, FEATURES), [Stage(BatchNormed()) for _ in range(3)], CLASSES).double()
    assert_runs_as_the_paper(SID(cascade, schedule=schedule), *small_batch())
    assert [stage.head.norm.num_batches_tracked.item() for stage in cascade.stages] == [1, 1, 1]
