"""What a schedule runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from torchsid.core.beliefs import mean, share
from torchsid.core.calling import Inputs
from torchsid.core.cascade import BeliefNetwork
from torchsid.core.learner import do_nothing
from torchsid.core.objective import LocalObjective
from torchsid.core.schedules.combine import GradientCombiner

CascadeT = TypeVar("CascadeT", bound=BeliefNetwork)


@dataclass(frozen=True, kw_only=True)
class Step(Generic[CascadeT]):
    """One batch through one cascade.

    Attributes:
        cascade: L stages; its parameters get their `.grad`.
        objective: makes the losses `L_i`.
        x: the batch, `[B, ...]`; a staged cascade takes whatever its model takes.
        log_target: `p_y` as log-probabilities, `[B, ..., C]`.
        weight: of each position in every mean, `[B, ...]`; None counts all the same.
        scales: multiply the losses that are differentiated, `[L]`.
        combiner: merges the stages' `∂L_i/∂z` for the extractor.
        log_belief: the belief that the first stage refines, `[B, ..., C]`; the cascade's prior when None.
        teachers: `p_0 … p_{L−1}` that the stages read and learn from, `[L, B, ..., C]`; when None, each one's output teaches the
            next.
        window: the number of stages that a loss reaches back over in a staged cascade; 1 is SID.
        on_loss: called with a stage's index (from 0) and its mean loss, before it is differentiated.
        on_belief: called after it with the index and the stage's belief, `[B, ..., C]`.
        on_trained: called with a stage's index (from 0) as soon as its gradient is complete and its graph is gone; with L for the
            extractor of a shared cascade, which is last.
    """

    cascade: CascadeT
    objective: LocalObjective
    x: Inputs
    log_target: Tensor
    scales: Tensor
    combiner: GradientCombiner
    log_belief: Tensor | None = None
    teachers: Tensor | None = None
    weight: Tensor | None = None
    window: int = 1
    on_loss: Callable[[int, Tensor], None] = do_nothing
    on_belief: Callable[[int, Tensor], None] = do_nothing
    on_trained: Callable[[int], None] = do_nothing

    def judge(self, stage: int, log_belief: Tensor, log_previous: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """Return a stage's mean loss and its gradient in the logits, `[B, ..., C]`, weighted and scaled; tell the hooks.

        Args:
            stage: its index, from 0.
            log_belief: what it answers, `[B, ..., C]`.
            log_previous: what it learns from, of the same shape.
            alpha: its α.
        """
        losses, gradient = self.objective.loss_and_gradient(log_belief, self.log_target, log_previous, alpha)
        loss = mean(losses, self.weight)
        if self.weight is None:
            gradient = self.scales[stage] / losses.numel() * gradient
        else:
            masked = (self.weight == 0).unsqueeze(-1)
            gradient = (self.scales[stage] * share(self.weight)).unsqueeze(-1) * gradient.masked_fill(masked, 0.0)
        self.on_loss(stage, loss)
        self.on_belief(stage, log_belief)
        return loss, gradient
