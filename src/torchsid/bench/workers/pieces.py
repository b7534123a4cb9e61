"""The stages of a model as modules: what pipelines are made of, and what each stage costs without a belief head."""

from collections.abc import Sequence
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from torchsid.bench.workload import Workload
from torchsid.core.staged import StagedCascade
from torchsid.cut.graph import GraphSegments

_REPEATS = 3  # that are timed, after one that warms up


class Chain(nn.Module):
    """Consecutive stages as one module: takes the values that cross the cut before it, gives those that cross the one behind.

    Args:
        stages: of `GraphSegments.modules`.
    """

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, *values: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Return the values that cross the next cut; the model's logits `[B, C]` at its end."""
        for stage in self.stages:
            values = stage(*values)
        return values


def cut(workload: Workload) -> tuple[StagedCascade, list[fx.GraphModule]]:
    """Return the workload's model cut into its number of stages, and the stages as modules, without heads."""
    (stages,) = workload.stages
    cascade = workload.new_cascade(stages, by="graph")
    assert isinstance(cascade.segments, GraphSegments)
    return cascade, cascade.segments.modules


def backprop_seconds(workload: Workload) -> list[float]:
    """Return the median seconds that forward and backward of each stage take on the whole batch, without its belief head."""
    _, stages = cut(workload)
    x, target = workload.batch()
    rounds = [_seconds(stages, x, target) for _ in range(1 + _REPEATS)]
    return [median(column) for column in zip(*rounds[1:], strict=True)]


def _seconds(stages: Sequence[nn.Module], x: Tensor, target: Tensor) -> list[float]:
    values: tuple[Tensor, ...] = (x,)
    seconds = []
    for stage in stages:
        start = perf_counter()
        outputs = stage(*values)
        if isinstance(outputs, Tensor):
            outputs = (F.cross_entropy(outputs, target),)
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
        seconds.append(perf_counter() - start)
        values = tuple(output.detach().requires_grad_() for output in outputs)
    return seconds
