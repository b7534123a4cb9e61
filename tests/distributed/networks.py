"""A small network that is hard to spread, its batches, and what one process makes of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid import SID, staged_cascade
from torchsid.core.learner import Learner
from torchsid.core.staged import StagedCascade
from torchsid.distributed.pipeline import PipelinedSID
from torchsid.distributed.world import World

CLASSES = 4
MakeOptimizer = Callable[[nn.Module], Optimizer]
Batches = Sequence[tuple[Tensor, Tensor]]


class Crossing(nn.Module):
    """Cut after `b`, `c` and `d`, a skip, an integer and a mask cross the cuts; `quiet` leaves dropout and BatchNorm out."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(12, 16), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.dropout = nn.Identity() if quiet else nn.Dropout(0.3)
        self.late_dropout = nn.Identity() if quiet else nn.Dropout(0.2)
        self.norm = nn.Identity() if quiet else nn.BatchNorm1d(16)
        self.relu = nn.ReLU(inplace=True)
        self.e = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        samples = x.size(0)
        skip = self.a(x.flatten(1)).relu()
        positive = skip > 0.1
        h = self.relu(self.b(self.dropout(skip)))
        h = self.norm(self.relu(self.c(h)))
        h = self.relu(self.d(self.late_dropout(h))) * positive + skip
        logits: Tensor = self.e(h.view(samples, -1))
        return logits


def crossing_cascade(*, quiet: bool = False, dtype: torch.dtype = torch.float32) -> StagedCascade:
    """Four stages, the same at every call."""
    torch.manual_seed(0)
    model = Crossing(quiet=quiet).to(dtype)
    example = torch.randn(2, 3, 2, 2, dtype=dtype)
    return staged_cascade(model, CLASSES, ["b", "c", "d"], example, by="graph", head="linear", max_head_share=9.0)


def batches(sizes: Sequence[int] = (8, 8, 8, 5), dtype: torch.dtype = torch.float32) -> Batches:
    """Batches of these sizes, the same at every call."""
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 3, 2, 2, generator=generator, dtype=dtype), torch.randint(CLASSES, (size,), generator=generator))
        for size in sizes
    ]


def sgd(module: nn.Module) -> Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)


def adam(module: nn.Module) -> Optimizer:
    return torch.optim.Adam(module.parameters(), lr=0.01)


def pipelined(cascade: StagedCascade, world: World, optimizer: MakeOptimizer = sgd, **settings: object) -> PipelinedSID:
    """This worker's stages of the cascade."""
    example = torch.randn(2, 3, 2, 2, dtype=cascade.log_prior.dtype)
    return PipelinedSID(cascade, world, **{"optimizer": optimizer, "batch_size": 8, "example": example, **settings})


def alone(cascade: StagedCascade, optimizer: MakeOptimizer = sgd, **settings: object) -> SID:
    """The same learner in one process."""
    return SID(cascade, optimizer=optimizer(cascade), **settings)


def trained(learner: Learner, data: Batches, *, autocast: bool = False, new_alpha: float | None = None) -> dict[str, Any]:
    """Take a step a batch; return weights, the losses `[T, L]`, the beliefs of the last batch and those of all samples.

    After the first step all stages learn with `new_alpha` if there is one.
    """
    assert isinstance(learner, SID | PipelinedSID)
    learner.module.train()
    losses, beliefs = [], []
    for number, (x, target) in enumerate(data):
        torch.manual_seed(100 + number)
        if number and new_alpha is not None:
            learner.objective = replace(learner.objective, alpha=new_alpha)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = learner.step(x, target)
        losses.append(out.stage_losses)
        beliefs.append(out.log_belief)
    learner.module.eval()
    everything = torch.cat([x for x, _ in data])
    # Workers take as many samples at once as a message holds; rounding depends on how many there are.
    parts = everything.split(len(data[0][0])) if isinstance(learner, SID) else [everything]
    return {
        **{f"weights.{name}": tensor for name, tensor in learner.module.state_dict().items()},
        "losses": torch.stack(losses),
        "beliefs": torch.cat(beliefs),
        "evaluated": torch.cat([learner.log_beliefs(part) for part in parts], dim=1),
    }
