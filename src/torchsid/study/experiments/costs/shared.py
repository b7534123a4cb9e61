"""The paper's network as something to measure: its sizes, a random batch, and the ways to train it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Adam

from torchsid import models
from torchsid.bench.contenders import Contender
from torchsid.bench.reference import reference_backward
from torchsid.core import schedules
from torchsid.core.objective import LocalObjective
from torchsid.core.shared import SharedCascade, shared_cascade
from torchsid.learners.backprop import Backprop
from torchsid.learners.sid import SID
from torchsid.study.experiments.costs.plan import Shared

FEATURES = 128
REFERENCE, CHAIN, PLAIN = "reference procedure", "BP through the chain", "BP, plain network"
SCHEDULES = {f"SID, {name.replace('_', '-')}": name for name in schedules.names()}
TWO_PHASE, STREAMING, BATCHED = SCHEDULES


@dataclass(frozen=True, kw_only=True)
class SharedWorkload:
    """One shared cascade and one batch."""

    extractor: str
    depth: int
    hidden: int
    batch_size: int
    image_size: int
    classes: int

    @property
    def title(self) -> str:
        """The extractor and the number of stages."""
        return f"{self.extractor} extractor, L = {self.depth}"

    def new_cascade(self) -> SharedCascade:
        """Return the cascade, with the same weights at every call."""
        return shared_cascade(self._new_extractor(), self.classes, self.depth, hidden=self.hidden)

    def new_plain(self) -> nn.Module:
        """Return extractor and one linear layer."""
        return nn.Sequential(self._new_extractor(), nn.Linear(FEATURES, self.classes))

    def _new_extractor(self) -> nn.Module:
        torch.manual_seed(0)
        return models.create(self.extractor, in_channels=3, image_size=self.image_size, feature_dim=FEATURES)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return images `[B, 3, S, S]` and classes `[B]`, the same at every call."""
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(self.batch_size, 3, self.image_size, self.image_size, generator=generator)
        return x, torch.randint(self.classes, (self.batch_size,), generator=generator)


def workload(network: Shared, depth: int, hidden: int | None = None) -> SharedWorkload:
    """Return the network of a plan with so many stages, of the plan's own width where none is given."""
    return SharedWorkload(
        extractor=network.extractor,
        depth=depth,
        hidden=hidden or network.hidden,
        batch_size=network.batch_size,
        image_size=network.image_size,
        classes=network.classes,
    )


def contenders(work: SharedWorkload) -> dict[str, Callable[[], Contender]]:
    """Return what is compared, by name; a call builds it with weights of its own. All update by one Adam over all parameters."""
    return {
        **{name: partial(_sid, work, schedule) for name, schedule in SCHEDULES.items()},
        REFERENCE: partial(_reference, work),
        CHAIN: partial(_backprop, work, work.new_cascade),
        PLAIN: partial(_backprop, work, work.new_plain),
    }


def _sid(work: SharedWorkload, schedule: str) -> Contender:
    cascade = work.new_cascade()
    return _contender(cascade, partial(SID(cascade, schedule=schedule).backward, *work.batch()))


def _reference(work: SharedWorkload) -> Contender:
    cascade, objective, (x, target) = work.new_cascade(), LocalObjective(), work.batch()
    log_target = objective.log_target(target, work.classes)
    return _contender(cascade, partial(reference_backward, cascade, objective, x, log_target))


def _backprop(work: SharedWorkload, new_module: Callable[[], nn.Module]) -> Contender:
    module = new_module()
    return _contender(module, partial(Backprop(module).backward, *work.batch()))


def _contender(module: nn.Module, gradients: Callable[[], object]) -> Contender:
    optimizer = Adam(module.parameters())

    def step() -> None:
        optimizer.zero_grad()
        gradients()
        optimizer.step()

    return Contender(module=module, optimizer=optimizer, step=step)
