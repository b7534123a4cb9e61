"""A domain and methods that no folder of the package holds."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tests.tasks.test_own_task import Parity
from torchsid.core.learner import StepOutput
from torchsid.learners.backprop import Backprop
from torchsid.tasks import Splits


class Incomplete(Parity):
    """Rows of bits, of which one could not be read."""

    def load(self, seed: int) -> Splits:
        return replace(super().load(seed), skipped=("row 7: lost",))


class Quiet(Backprop):
    """Tells nothing on the way."""

    def backward(self, x: Tensor, target: Tensor, **about: Any) -> StepOutput:
        return super().backward(x, target, weight=about["weight"])


def flat(example: Tensor) -> nn.Module:
    """An extractor without parameters."""
    return nn.Flatten()


class Twisted(nn.Sequential):
    """A trunk whose path depends on its data."""

    def __init__(self, example: Tensor, num_classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(example[0].numel(), 32), nn.ReLU(), nn.Linear(32, 32), nn.Linear(32, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


class Flawed(Backprop):
    """Has a gradient of NaN at some steps, counted from 1."""

    def __init__(self, module: nn.Module, *, bad: list[int]) -> None:
        super().__init__(module)
        self.bad, self.steps = bad, 0

    def backward(self, x: Tensor, target: Tensor, *, samples: Tensor | None = None, **about: Any) -> StepOutput:
        self.steps += samples is not None  # measurements beside training do not say which they are
        scale = float("nan") if samples is not None and self.steps in self.bad else 1.0
        return super().backward(x, target, scale=scale, **about)


class Overconfident(Backprop):
    """In some epochs, its last stage is sure of class 0, whatever it sees."""

    def __init__(self, module: nn.Module, *, at: list[int]) -> None:
        super().__init__(module)
        self.at, self.epoch = at, 0

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def log_beliefs(self, x: Tensor) -> Tensor:
        log_beliefs = torch.full((3, len(x), 10), 0.1).log()
        if self.epoch in self.at:
            log_beliefs[2] = torch.tensor([0.91, *[0.01] * 9]).log()
        return log_beliefs
