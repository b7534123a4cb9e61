"""One step of training: its learning rate, what it does, and what it measures."""

import math
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from torchsid.core.learner import Learner
from torchsid.errors import NonFiniteError
from torchsid.training.config import OptimizerConfig
from torchsid.training.evaluation import outcome_of
from torchsid.training.setup import Batch, Setup

_FIRST_SHARE = 1 / 25  # one-cycle starts here, as in Smith and Topin (arXiv 1708.07120) and torch.optim.lr_scheduler.OneCycleLR,
_LAST_SHARE = 1 / 250_000  # and ends here; both are shares of the peak


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Return the learning rate of step `step` (counted from 0) of a run of `steps` steps.

    constant and cosine rise in a straight line over the warm-up: `peak · (step + 1) / warm-up steps`; cosine then falls as
    `peak · (1 + cos π t) / 2` with t from 0 to 1. one-cycle anneals up from peak/25 and down to peak/250,000, both as cosines.
    """
    peak, last = config.learning_rate, steps - 1
    if config.schedule == "one-cycle":
        top = config.warmup * steps - 1  # the step of the peak; a fraction, as in OneCycleLR
        if step <= top:
            return _anneal(peak * _FIRST_SHARE, peak, step / top if top else 1.0)
        return _anneal(peak, peak * _LAST_SHARE, (step - top) / (last - top))
    warmup = round(config.warmup * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if config.schedule == "cosine":
        return _anneal(peak, 0.0, (step - warmup) / max(steps - warmup, 1))
    return peak


def _anneal(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(kw_only=True)
class Sums:
    """Sums over the positions of a step or an epoch, to be divided by their weight: a smaller last batch weighs what it should."""

    samples: int = 0
    positions: float = 0.0
    """Of the weights of all positions; what the losses are means over."""
    stage_losses: list[float] = field(default_factory=list)
    correct: list[float] = field(default_factory=list)
    """Of the weights of the positions that a stage answers right."""
    skipped_steps: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0

    def add(self, step: "Sums") -> None:
        """Add what a step measured."""
        self.samples += step.samples
        self.positions += step.positions
        self.stage_losses = [a + b for a, b in zip_longest(self.stage_losses, step.stage_losses, fillvalue=0.0)]
        self.correct = [a + b for a, b in zip_longest(self.correct, step.correct, fillvalue=0.0)]

    @property
    def loss(self) -> float:
        """The mean of the summed loss of all stages; 0 when every step was skipped."""
        return sum(self.stage_losses) / (self.positions or 1.0)

    def means(self) -> dict[str, Any]:
        """Return the epoch's training metrics under their names in metrics.jsonl; null when every step was skipped."""
        count = self.positions or None
        return {
            "train_loss": self.loss if count else None,
            "train_stage_losses": [total / count for total in self.stage_losses] if count else None,
            "train_accuracy": [total / count for total in self.correct] if count else None,
            "samples_per_second": self.samples / self.seconds if self.seconds else None,
            "data_share": self.data_seconds / self.seconds if self.seconds else None,
            "skipped_steps": self.skipped_steps,
        }


def training_step(setup: Setup, batch: Batch, learning_rate: float) -> Sums:
    """Take one step and return what it measured. A learner that has the optimiser itself updates every stage at once.

    Raises:
        NonFiniteError: NaN or infinity in inputs, losses or gradients, by stage or parameter. Weights, optimiser and running
            statistics are then as before the step, unless the stages were updated at once.
    """
    if not batch.finite:
        raise NonFiniteError("the inputs hold NaN or infinity")
    learner, module, clip_gradient = setup.learner, setup.learner.module, setup.config.optimizer.clip_gradient
    module.train()
    buffers = [buffer.clone() for buffer in module.buffers()]  # running statistics: a few kilobytes at most
    setup.optimizer.zero_grad()
    for group in setup.optimizer.param_groups:
        group["lr"] = learning_rate * group["rate_factor"]
    answers: list[Tensor] = []  # of every stage, `[B, ...]`

    with setup.autocast():
        forward_and_backward = learner.step if learner.optimizer else learner.backward
        out = forward_and_backward(
            batch.x,
            batch.target,
            weight=batch.weight,
            samples=batch.samples,
            on_belief=lambda stage, log_belief: answers.append(log_belief.argmax(dim=-1)),
        )
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)  # 0 if stages were updated at once: no gradient is left
    if clip_gradient:
        nn.utils.clip_grads_with_norm_(module.parameters(), clip_gradient, norm)
    right = torch.stack(answers or [out.log_belief.argmax(dim=-1)]) == outcome_of(batch.target)  # some methods tell nothing
    weight = torch.ones_like(right[0], dtype=torch.float64) if batch.weight is None else batch.weight.double()
    # One transfer for all numbers: on CUDA every transfer waits for the device.
    measured = (norm.reshape(1), weight.sum().reshape(1), out.stage_losses, (right * weight).flatten(1).sum(1))
    length, positions, *rest = torch.cat([part.detach().to(out.stage_losses.device, torch.float64) for part in measured]).tolist()
    stage_losses, correct = rest[: len(out.stage_losses)], rest[len(out.stage_losses) :]
    if not all(map(math.isfinite, (length, *stage_losses))):
        for buffer, before in zip(module.buffers(), buffers, strict=True):
            buffer.copy_(before)
        raise NonFiniteError(_where(learner, stage_losses))
    if not learner.optimizer:
        setup.optimizer.step()
    losses = [loss * positions for loss in stage_losses]
    return Sums(samples=len(batch.target), positions=positions, stage_losses=losses, correct=correct)


def _where(learner: Learner, stage_losses: list[float]) -> str:
    for stage, value in enumerate(stage_losses, 1):
        if not math.isfinite(value):
            return f"the loss of stage {stage} is {value}"
    for name, parameter in learner.module.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            return f"the gradient of {name} holds NaN or infinity"
    return "the norm of the gradient overflows"
