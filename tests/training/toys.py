"""A domain, an extractor and methods that no folder of the package holds."""

from typing import Any

import torch
from torch import Tensor, nn

from torchsid.core.learner import StepOutput
from torchsid.learners.backprop import Backprop
from torchsid.tasks import About, Samples, Splits, Task


class Points(Task):
    """Points in space, of the class of their octant; a third count nothing and a third twice."""

    def __init__(self, *, count: int = 90, spread: float = 1.0) -> None:
        self.count, self.spread = count, spread

    def load(self, seed: int) -> Splits:
        generator = torch.Generator().manual_seed(seed)
        points = torch.randn(3 * self.count, 3, generator=generator) * self.spread
        target = (points > 0).long() @ torch.tensor([1, 2, 4])
        samples = Samples(points, target, weight=torch.arange(len(points)) % 3.0)
        parts = (samples.take(slice(first, first + self.count)) for first in range(0, 3 * self.count, self.count))
        about = {"num_classes": 8}
        return Splits(*parts, about=about, fingerprint={"points": f"{self.count} {self.spread}"}, skipped=("point 7: lost",))

    def example(self, about: About) -> Tensor:
        return torch.zeros(2, 3)


def features(example: Tensor, *, width: int = 6) -> nn.Module:
    return nn.Sequential(nn.Linear(example.shape[1], width), nn.Tanh())


class Quiet(Backprop):
    """Tells nothing on the way.

    Args:
        module: any network.
        strength: How much.
    """

    def __init__(self, module: nn.Module, *, strength: float = 1.0) -> None:
        super().__init__(module)
        self.strength = strength

    def backward(self, x: Tensor, target: Tensor, **about: Any) -> StepOutput:
        return super().backward(x, target, weight=about["weight"], scale=self.strength)


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
    """From an epoch on, its last stage is sure of class 0, whatever it sees."""

    def __init__(self, module: nn.Module, *, since: int) -> None:
        super().__init__(module)
        self.since, self.epoch = since, 0

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def log_beliefs(self, x: Tensor) -> Tensor:
        log_beliefs = torch.full((3, len(x), 10), 0.1).log()
        if self.epoch >= self.since:
            log_beliefs[2] = torch.tensor([0.91, *[0.01] * 9]).log()
        return log_beliefs
