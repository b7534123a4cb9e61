"""Small networks that are hard to spread, their batches, and what one process or several workers make of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from tests.distributed.workers import Result
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid import SID, SharedCascade, StagedCascade, shared_cascade, staged_cascade
from torchsid.core.cascade import Cascade
from torchsid.core.side_effects import without_side_effects
from torchsid.distributed.pipeline import PipelinedSID
from torchsid.distributed.world import World, join

CLASSES = 4
SIZES = (8, 8, 8, 5)
"""Of an epoch's batches."""
MakeOptimizer = Callable[[nn.Module], Optimizer]
Batches = Sequence[tuple[Tensor, Tensor]]
Settings = Mapping[str, object]
DEFAULTS: Settings = {}


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
    return cut(Crossing(quiet=quiet).to(dtype), ["b", "c", "d"], torch.randn(2, 3, 2, 2, dtype=dtype))


def cut(model: nn.Module, cuts: Any, example: Tensor | None = None, **settings: Any) -> StagedCascade:
    """The model with linear heads, cut by its graph."""
    example = torch.randn(2, 3, 2, 2) if example is None else example
    return staged_cascade(model, CLASSES, cuts, example, **{"by": "graph", "head": "linear", "max_head_share": 9.0, **settings})


def extractor_cascade(**settings: Any) -> SharedCascade:
    """Five stages on one extractor, the same at every call."""
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 16))
    return shared_cascade(nn.Sequential(*layers), CLASSES, 5, hidden=8, **settings)


def batches(sizes: Sequence[int] = SIZES, dtype: torch.dtype = torch.float32, positions: Sequence[int] = ()) -> Batches:
    """An epoch, the same at every call."""
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 3, 2, 2, generator=generator, dtype=dtype),
            torch.randint(CLASSES, (size, *positions), generator=generator),
        )
        for size in sizes
    ]


def sgd(module: nn.Module) -> Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)


def adam(module: nn.Module) -> Optimizer:
    return torch.optim.Adam(module.parameters(), lr=0.01)


def alone(cascade: Cascade, optimizer: MakeOptimizer = sgd, method: Settings = DEFAULTS) -> SID:
    """SID with some settings in one process, ready to train two epochs."""
    learner = SID(cascade, optimizer=optimizer(cascade), **method)  # type: ignore[arg-type]
    answer = torch.Size([*(() if cascade.positions == "tokens" else cascade.positions), CLASSES])
    learner.prepare_training(samples=sum(SIZES), epochs=2, optimizer=learner.optimizer, answer=answer)  # type: ignore[arg-type]
    return learner


def pipelined(
    cascade: Cascade, world: World, optimizer: MakeOptimizer = sgd, method: Settings = DEFAULTS, **settings: Any
) -> PipelinedSID:
    """This worker's part of it."""
    example = torch.randn(2, 3, 2, 2, dtype=cascade.log_prior.dtype)
    given = {"optimizer": optimizer, "batch_size": 8, "example": example, **settings}
    return PipelinedSID(alone(cascade, method=method), world, **given)


def trained(
    learner: SID | PipelinedSID, data: Batches, *, autocast: bool = False, new_alpha: float | None = None
) -> dict[str, Any]:
    """Train for two epochs, and evaluate between.

    Return weights, the losses `[T, L]`, the beliefs of every batch and those of all samples. After the first step all stages learn
    with `new_alpha` if there is one.
    """
    losses, beliefs = [], []
    sizes = [len(target) for _, target in data]
    samples = torch.arange(sum(sizes)).split(sizes)
    for number, (x, target) in enumerate([*data, *data]):
        epoch, step = divmod(number, len(data))
        if step == 0:
            if epoch and isinstance(learner.module, StagedCascade):
                with without_side_effects(learner.module.eval()):
                    learner.log_beliefs(x)
            learner.begin_epoch(epoch + 1)
            learner.module.train()
        torch.manual_seed(100 + number)
        if number and new_alpha is not None:
            learner.objective = replace(learner.objective, alpha=new_alpha)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = learner.step(x, target, samples=samples[step])
        losses.append(out.stage_losses)
        beliefs.append(out.log_belief)
    learner.module.eval()
    everything = torch.cat([x for x, _ in data])
    # Workers take as many samples at once as a message holds; rounding depends on how many there are.
    parts = everything.split(len(data[0][0])) if isinstance(learner, SID) else [everything]
    evaluated = torch.cat([learner.log_beliefs(part) for part in parts], dim=1)
    return {**weights_of(learner), "losses": torch.stack(losses), "beliefs": torch.cat(beliefs), "evaluated": evaluated}


def weights_of(learner: SID | PipelinedSID) -> dict[str, Tensor]:
    """Weights and statistics, and what a method remembers."""
    tensors = {**learner.module.state_dict(), **learner.state()}
    return {f"weights.{name}": tensor for name, tensor in tensors.items()}


def train_in_worker(
    rank: int,
    build: Callable[[], Cascade] = crossing_cascade,
    data: Callable[[], Batches] = batches,
    replicas: int = 1,
    autocast: bool = False,
    new_alpha: float | None = None,
    **settings: Any,
) -> Result:
    with join(replicas=replicas, timeout=60) as world:
        learner = pipelined(build(), world, **settings)
        result = trained(learner, data(), autocast=autocast, new_alpha=new_alpha)
        learner.flush()
        world.gather(None)
        return {**result, "stages": list(learner.assignment[world.position]), "sent": learner.sent_bytes}


def weights(result: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in result.items() if name.startswith("weights.")}


def union(workers: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The weights of all workers, which have nothing but the prior in common, and a readout that heads share."""
    whole: dict[str, Tensor] = {}
    for worker in workers:
        own = weights(worker)
        common = {name for name in own if name.startswith(("weights.log_prior", "weights.readout."))}
        assert whole.keys() & own.keys() <= common
        assert own.keys() > common
        assert all(torch.equal(whole[name], own[name]) for name in whole.keys() & common)
        whole |= own
    return whole


def assert_same(workers: list[dict[str, Any]], one: dict[str, Any]) -> None:
    """The last worker's numbers and everyone's weights are those of one process, bit by bit."""
    for name in ("losses", "beliefs", "evaluated"):
        assert torch.equal(workers[-1][name], one[name]), name
    assert_equal(union(workers), weights(one))


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []
