"""SID: Synergistic Information Distillation (arXiv 2510.03273)."""

import torch
from torch import Tensor

from torchsid import schedules
from torchsid.beliefs import check_one_target_a_sample
from torchsid.cascade import Cascade
from torchsid.objective import Alpha, Direction, LocalObjective
from torchsid.schedules.combine import combiner_factory
from torchsid.schedules.step import Step, StepOutput


class SID:
    """Trains a cascade by local losses; `learner.backward(x, target)` takes the place of `loss.backward()`.

        L_i = α_i · D(p_i, p_y) + (1 − α_i) · D(p_i, sg(p_{i−1}))

    Args:
        cascade: extractor and stages.
        alpha: weight of the target: a number, one a stage, or a schedule over stages such as `"linear:1.0:0.2"`.
        direction: `"forward"` (finite with one-hot labels) or `"reverse"` (the paper's theory; needs label smoothing).
        label_smoothing: ε; the target becomes `(1−ε)·p_y + ε/C`.
        schedule: `"streaming"` (least memory), `"two_phase"` (the paper's) or `"batched"` (stages stacked). Same gradients.
        combine: how the extractor merges the stages' gradients: `"sum"` (the paper's), `"mean"` or `"pcgrad"`.

    Raises:
        ValueError: a setting is unknown or out of range.
    """

    def __init__(
        self,
        cascade: Cascade,
        *,
        alpha: Alpha = 0.5,
        direction: Direction = "forward",
        label_smoothing: float = 0.0,
        schedule: str = "streaming",
        combine: str = "sum",
    ) -> None:
        self.module = cascade
        self.objective = LocalObjective(alpha=alpha, direction=direction, label_smoothing=label_smoothing)
        self.objective.alphas(cascade.depth)  # a sequence of another length than the cascade is an error now, not at step 1
        self.schedule = schedules.get(schedule)
        self.new_combiner = combiner_factory(combine)

    def backward(self, x: Tensor, target: Tensor, *, weight: float | Tensor = 1.0) -> StepOutput:
        """Add `∇L_i` to every stage and their combination to the extractor; step nothing.

        Args:
            x: the batch, `[B, ...]`.
            target: integer classes `[B]` or probability rows `[B, C]`.
            weight: multiplies the losses that are differentiated; a tensor `[L]` weighs the stages one by one.

        Returns:
            Unweighted losses and all beliefs, detached.

        Raises:
            TargetError: the target does not fit; see `LocalObjective.log_target`.
            ScheduleError: the schedule cannot run this cascade.
            ValueError: `weight` is neither one number nor one a stage.
        """
        return self.schedule(self.prepare(x, target, weight=weight))

    def prepare(self, x: Tensor, target: Tensor, *, weight: float | Tensor = 1.0) -> Step:
        """Return what `backward` hands to the schedule, checked; arguments and errors as there."""
        log_target = self.log_target(x, target)
        weights = torch.as_tensor(weight, device=log_target.device, dtype=log_target.dtype)
        if weights.shape not in ((), (1,), (self.module.depth,)):
            raise ValueError(f"weight has shape {list(weights.shape)}: give one number, or one a stage, [{self.module.depth}]")
        return Step(
            cascade=self.module,
            objective=self.objective,
            x=x,
            log_target=log_target,
            weights=weights.expand(self.module.depth),
            combiner=self.new_combiner(),
        )

    def log_target(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the smoothed target `p_y` of each sample of `x` as log-probabilities `[B, C]`, in the precision of the beliefs.

        Raises:
            TargetError: the target does not fit; see `LocalObjective.log_target`.
        """
        prior = self.module.log_prior
        dtype = torch.promote_types(prior.dtype, torch.float32)
        log_target = self.objective.log_target(target, self.module.num_classes, dtype=dtype)
        check_one_target_a_sample(log_target, x)
        return log_target.to(prior.device)

    @torch.no_grad()
    def log_beliefs(self, x: Tensor) -> Tensor:
        """Return the belief after every stage, `[L+1, B, C]`."""
        return self.module.log_beliefs(x)
