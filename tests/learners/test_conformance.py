"""Every learner of the registry keeps the contract of `Learner`."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tests.cut.classifiers import classifier, cut, images
from tests.networks import (
    BATCH,
    CLASSES,
    assert_same_gradients,
    gradients,
    normed_cascade,
    restless_extractor,
    rows,
    small_batch,
    small_cascade,
    staged_cascade,
)
from torchsid import SID, Backprop, Learner, SharedCascade, StepOutput, learners
from torchsid.errors import TargetError
from torchsid.learners import robust
from torchsid.learners.deep_supervision import DeepSupervision
from torchsid.learners.elr import ELR
from torchsid.learners.predictions import PredictionMemory
from torchsid.learners.self_distillation import SelfDistillation

FACTORIES: dict[str, Callable[[SharedCascade], Learner]] = {
    "sid": SID,
    "backprop": Backprop,
    "deep-supervision": DeepSupervision,
    "soft-bootstrap": partial(Backprop, loss=robust.soft_bootstrap),
    "hard-bootstrap": partial(Backprop, loss=robust.hard_bootstrap),
    "self-distillation": lambda cascade: SelfDistillation(cascade, epochs=3, memory=PredictionMemory(BATCH, CLASSES)),
    "gce": partial(Backprop, loss=robust.generalized_cross_entropy),
    "sce": partial(Backprop, loss=robust.symmetric_cross_entropy),
    "elr": lambda cascade: ELR(cascade, memory=PredictionMemory(BATCH, CLASSES)),
}
every_learner = pytest.mark.parametrize("name", learners.names())


def learner_of(name: str, cascade: SharedCascade | None = None) -> Learner:
    return FACTORIES[name](cascade or small_cascade())


def test_every_name_has_a_factory_here_and_a_description() -> None:
    assert set(FACTORIES) == set(learners.names())
    assert all(learners.DESCRIPTIONS[name] for name in learners.names())
    assert learners.STAGES_ANSWER.issubset(learners.names())


@every_learner
def test_it_is_a_learner(name: str) -> None:
    cascade = small_cascade()
    learner = learner_of(name, cascade)
    assert isinstance(learner, Learner)
    assert learner.module is cascade


@pytest.mark.parametrize("target", [small_batch()[1], rows()], ids=["classes", "rows"])
@pytest.mark.parametrize("make", [small_cascade, normed_cascade, staged_cascade])
@every_learner
def test_backward_gives_every_parameter_a_gradient_and_steps_nothing(
    name: str, make: Callable[[], SharedCascade], target: Tensor
) -> None:
    learner = learner_of(name, make())
    before = copy.deepcopy(learner.module.state_dict())
    learner.backward(small_batch()[0], target)
    for key, parameter in learner.module.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.any(), key
    torch.testing.assert_close(learner.module.state_dict(), before, rtol=0, atol=0)


@every_learner
def test_the_output_is_detached_and_shaped(name: str) -> None:
    learner = learner_of(name)
    output = learner.backward(*small_batch())
    assert isinstance(output, StepOutput)
    assert output.log_belief.shape == (BATCH, CLASSES)
    assert output.stage_losses.dim() == 1
    assert output.loss.item() == pytest.approx(output.stage_losses.sum().item())
    assert not any(tensor.requires_grad for tensor in (output.loss, output.stage_losses, output.log_belief))


@every_learner
def test_the_output_holds_the_beliefs_of_the_step(name: str) -> None:
    learner, (x, target) = learner_of(name), small_batch()
    expected = learner.log_beliefs(x)
    assert not expected.requires_grad
    torch.testing.assert_close(learner.backward(x, target).log_belief, expected[-1])
    torch.testing.assert_close(expected[-1], learner.module(x).detach().log_softmax(-1))


@every_learner
def test_classes_are_one_hot_rows(name: str) -> None:
    learner, (x, target) = learner_of(name), small_batch()
    learner.backward(x, nn.functional.one_hot(target, CLASSES).double())
    expected = gradients(learner.module)
    learner.module.zero_grad()
    learner.backward(x, target)
    assert_same_gradients(learner.module, expected, 1e-12)


@pytest.mark.parametrize("weight", [0.25, torch.tensor(3.0)], ids=["number", "tensor"])
@every_learner
def test_the_weight_multiplies_gradients_and_not_the_loss(name: str, weight: float | Tensor) -> None:
    learner, batch = learner_of(name), small_batch()
    plain = learner.backward(*batch)
    expected = {key: None if g is None else float(weight) * g for key, g in gradients(learner.module).items()}
    learner.module.zero_grad()
    weighted = learner.backward(*batch, scale=weight)
    assert_same_gradients(learner.module, expected, 1e-12)
    assert torch.equal(weighted.stage_losses, plain.stage_losses)


@every_learner
def test_gradients_accumulate(name: str) -> None:
    learner, batch = learner_of(name), small_batch()
    learner.backward(*batch)
    once = gradients(learner.module)
    learner.backward(*batch, scale=2.0)
    assert_same_gradients(learner.module, {key: None if g is None else 3 * g for key, g in once.items()}, 1e-12)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(torch.full((BATCH,), CLASSES), id="too large"),
        pytest.param(torch.full((BATCH,), -1), id="negative"),
        pytest.param(torch.full((BATCH, CLASSES + 1), 1 / (CLASSES + 1)), id="rows too wide"),
        pytest.param(torch.full((BATCH, CLASSES), 1.0), id="rows that sum to 4"),
        pytest.param(torch.zeros(1, dtype=torch.long), id="one for all"),
        pytest.param(torch.zeros(BATCH, 1, dtype=torch.long), id="a column"),
        pytest.param(torch.zeros(BATCH - 1, dtype=torch.long), id="too few"),
    ],
)
@every_learner
def test_a_target_that_does_not_fit_is_refused_with_nothing_changed(name: str, target: Tensor) -> None:
    learner = learner_of(name)
    before = copy.deepcopy(learner.module.state_dict())
    with pytest.raises(TargetError):
        learner.backward(small_batch()[0], target)
    assert all(parameter.grad is None for parameter in learner.module.parameters())
    torch.testing.assert_close(learner.module.state_dict(), before, rtol=0, atol=0)


@every_learner
def test_one_forward_pass_for_running_statistics(name: str) -> None:
    cascade = small_cascade(extractor=restless_extractor())
    learner_of(name, cascade).backward(*small_batch())
    assert cascade.extractor[1].num_batches_tracked == 1


@every_learner
def test_log_beliefs_leave_gradients_alone(name: str) -> None:
    learner = learner_of(name)
    learner.log_beliefs(small_batch()[0])
    assert all(parameter.grad is None for parameter in learner.module.parameters())


@every_learner
def test_steps_lower_the_loss(name: str) -> None:
    learner, batch = learner_of(name), small_batch()
    optimizer = torch.optim.Adam(learner.module.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(learner.backward(*batch).loss.item())
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


# A staged cascade


@pytest.mark.parametrize("by", ["boundary", "graph"])
@pytest.mark.parametrize("name", [name for name in learners.names() if name != "deep-supervision"])  # SID's largest window is that
def test_a_staged_cascade_is_trained_by_every_learner(name: str, by: str) -> None:
    cascade, (x, target) = cut("mlp", by=by), images("mlp")
    learner = FACTORIES[name](cascade)  # type: ignore[arg-type]
    expected = learner.log_beliefs(x)
    output = learner.backward(x, target)
    torch.testing.assert_close(output.log_belief, expected[-1])
    torch.testing.assert_close(expected[-1], cascade(x).detach().log_softmax(-1))
    assert not any(tensor.requires_grad for tensor in (output.loss, output.stage_losses, output.log_belief))
    assert all(parameter.grad is not None for parameter in cascade.model.parameters())


def test_backpropagation_through_a_staged_cascade_is_that_of_its_model() -> None:
    cascade, (x, target) = cut("mlp"), images("mlp")
    model = classifier("mlp")
    for module in (cascade, model):
        Backprop(module).backward(x, target)
    assert_same_gradients(cascade.model, gradients(model), 1e-12)
