"""One training step: forward and backward by the learner, then the optimiser, unless a number is not finite."""

from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from torchsid.core.learner import Learner
from torchsid.errors import NonFiniteError
from torchsid.training.batches import Batch
from torchsid.training.config import RunConfig
from torchsid.training.optimization import gradient_norm


@dataclass(frozen=True, kw_only=True)
class StepNumbers:
    """What a step measured."""

    samples: int
    positions: float
    """Sum of the weights of all positions; what the losses are means over."""
    loss: float
    stage_losses: list[float]
    correct: list[float]
    """Sum of the weights of the positions that a stage answers right."""


def training_step(learner: Learner, optimizer: Optimizer, batch: Batch, config: RunConfig) -> StepNumbers:
    """Take one step and return its numbers. A learner that has the optimiser itself updates every stage at once.

    Raises:
        NonFiniteError: NaN or infinity in inputs, losses or gradients, by stage or parameter. Weights, optimiser and running
            statistics are then as before the step, unless the stages were updated at once.
    """
    if not batch.finite:
        raise NonFiniteError("the inputs hold NaN or infinity")
    module = learner.module
    module.train()
    buffers = [buffer.clone() for buffer in module.buffers()]  # running statistics: a few kilobytes at most
    optimizer.zero_grad()
    classes = batch.target.argmax(dim=-1) if batch.target.is_floating_point() else batch.target
    counts = torch.ones_like(classes, dtype=torch.float64) if batch.weight is None else batch.weight.double()
    correct: list[torch.Tensor] = []

    def count_correct(stage: int, log_belief: torch.Tensor) -> None:
        correct.append(((log_belief.argmax(dim=-1) == classes) * counts).sum())

    with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=config.training.precision == "bfloat16"):
        forward_and_backward = learner.step if learner.optimizer else learner.backward
        out = forward_and_backward(batch.x, batch.target, weight=batch.weight, samples=batch.samples, on_belief=count_correct)
    norm = gradient_norm(module, clip=config.optimizer.clip_gradient).to(
        out.loss
    )  # 0 of stages updated at once: no gradient is left
    # One transfer for all numbers: on CUDA every transfer waits for the device.
    stages = len(out.stage_losses)
    measured = (out.loss.reshape(1), norm.reshape(1), counts.sum().reshape(1), out.stage_losses, torch.stack(correct))
    loss, length, positions, *rest = torch.cat([part.detach().double() for part in measured]).tolist()
    if not all(map(_finite, (loss, length, *rest[:stages]))):
        for buffer, before in zip(module.buffers(), buffers, strict=True):
            buffer.copy_(before)
        raise NonFiniteError(_where(learner, loss, rest[:stages]))
    if not learner.optimizer:
        optimizer.step()
    return StepNumbers(samples=len(batch.target), positions=positions, loss=loss, stage_losses=rest[:stages], correct=rest[stages:])


def _finite(value: float) -> bool:
    return value - value == 0


def _where(learner: Learner, loss: float, stage_losses: list[float]) -> str:
    for stage, value in enumerate(stage_losses, 1):
        if not _finite(value):
            return f"the loss of stage {stage} is {value}"
    if not _finite(loss):
        return f"the loss is {loss}"
    for name, parameter in learner.module.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            return f"the gradient of {name} holds NaN or infinity"
    return "the norm of the gradient overflows"
