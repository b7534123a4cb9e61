"""What a schedule runs, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from torchsid.core.calling import Inputs
from torchsid.core.cascade import BeliefNetwork
from torchsid.core.objective import LocalObjective
from torchsid.core.schedules.combine import GradientCombiner

CascadeT = TypeVar("CascadeT", bound=BeliefNetwork)


def do_nothing(*told: object) -> None:
    """Take no notice of a belief, or of a stage that is trained."""


@dataclass(frozen=True, kw_only=True)
class Step(Generic[CascadeT]):
    """One batch through one cascade.

    Attributes:
        cascade: L stages; its parameters get their `.grad`.
        objective: makes the losses `L_i`.
        x: the batch, `[B, ...]`; a staged cascade takes whatever its model takes.
        log_target: `p_y` as log-probabilities, `[B, C]`.
        weights: multiply the losses that are differentiated, `[L]`.
        combiner: merges the stages' `∂L_i/∂z` for the extractor.
        log_belief: the belief that the first stage refines, `[B, C]`; the cascade's prior when None.
        teachers: `p_0 … p_{L−1}` that the stages read and learn from, `[L, B, C]`; when None, each one's output teaches the next.
        window: the number of stages that a loss reaches back over in a staged cascade; 1 is SID.
        on_belief: called with a stage's index (from 0), its belief `[B, C]` and its mean loss before it is differentiated.
        on_trained: called with a stage's index (from 0) as soon as its gradient is complete and its graph is gone; with L for the
            extractor of a shared cascade, which is last.
    """

    cascade: CascadeT
    objective: LocalObjective
    x: Inputs
    log_target: Tensor
    weights: Tensor
    combiner: GradientCombiner
    log_belief: Tensor | None = None
    teachers: Tensor | None = None
    window: int = 1
    on_belief: Callable[[int, Tensor, Tensor], None] = do_nothing
    on_trained: Callable[[int], None] = do_nothing


@dataclass(frozen=True)
class StepOutput:
    """Losses and beliefs of one step, all detached; the gradients are in `.grad` of the parameters.

    Attributes:
        stage_losses: mean local loss of each stage in nats, `[L]`, not weighted.
        log_beliefs: `p_0 … p_L` as log-probabilities, `[L+1, B, C]`.
    """

    stage_losses: Tensor
    log_beliefs: Tensor

    @property
    def loss(self) -> Tensor:
        """The sum of the stage losses, a scalar."""
        return self.stage_losses.sum()
