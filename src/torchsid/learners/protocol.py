"""What every training method offers, whatever happens inside."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.calling import Inputs
from torchsid.core.objective import LocalObjective
from torchsid.core.schedules.step import StepOutput as StepOutput


@runtime_checkable
class Learner(Protocol):
    """A network together with a training method. A `Protocol`: nothing to inherit from."""

    @property
    def module(self) -> nn.Module:
        """The network; an ordinary module at inference."""

    def backward(self, x: Inputs, target: Tensor, *, weight: float | Tensor = 1.0, samples: Tensor | None = None) -> StepOutput:
        """Add the gradients of one batch to `.grad` of every parameter; step nothing.

        Args:
            x: the batch, `[B, ...]`.
            target: integer classes `[B]` or probability rows `[B, C]`.
            weight: multiplies the loss that is differentiated, not the one reported: `len(x) / effective_batch` to accumulate
                gradients, `scaler.scale(torch.ones(()))` under a `GradScaler`.
            samples: which training samples these are, int64 `[B]`; for methods that remember something of each.
        """

    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the prior and the belief after every stage without gradients, `[L+1, B, C]`; L = 1 for a plain network."""


@runtime_checkable
class LocalLearner(Learner, Protocol):
    """A learner whose stages minimise a local objective; another one may be set between two steps."""

    objective: LocalObjective
    """Of all stages, also where this process has only some of them."""


@runtime_checkable
class StageLearner(Learner, Protocol):
    """A learner that can update every stage by itself, as soon as its gradient is complete."""

    @property
    def optimizer(self) -> Optimizer | None:
        """Over the parameters of `module`; None when only `backward` is to be used."""

    def step(self, x: Inputs, target: Tensor, *, weight: float | Tensor = 1.0, samples: Tensor | None = None) -> StepOutput:
        """Do as `backward` and update; arguments as there."""
