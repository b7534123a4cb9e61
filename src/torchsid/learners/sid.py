"""SID: Synergistic Information Distillation (arXiv 2510.03273)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchsid.core import schedules
from torchsid.core.beliefs import check_one_target_a_sample
from torchsid.core.calling import Inputs, batch_size
from torchsid.core.cascade import Cascade
from torchsid.core.objective import Alpha, Direction, LocalObjective
from torchsid.core.schedules.combine import combiner_factory
from torchsid.core.schedules.staged_pass import staged_pass
from torchsid.core.schedules.step import Step, StepOutput, do_nothing
from torchsid.core.staged import StagedCascade
from torchsid.errors import ScheduleError
from torchsid.learners.memory import BeliefMemory


class SID:
    """Trains a cascade by local losses; `learner.backward(x, target)` takes the place of `loss.backward()`.

        L_i = α_i · D(p_i, p_y) + (1 − α_i) · D(p_i, sg(p_{i−1}))

    Args:
        cascade: a shared or a staged cascade.
        alpha: weight of the target: a number, one a stage, or a schedule over stages such as `"linear:1.0:0.2"`.
        direction: `"forward"` (finite with one-hot labels) or `"reverse"` (the paper's theory; needs label smoothing).
        label_smoothing: ε; the target becomes `(1−ε)·p_y + ε/C`.
        temperature: of the previous belief as a teacher; above 1 it is softer.
        schedule: `"streaming"` (least memory), `"two_phase"` (the paper's) or `"batched"` (stages stacked). Same gradients. A
            staged cascade streams.
        combine: how a shared extractor merges the stages' gradients: `"sum"` (the paper's), `"mean"` or `"pcgrad"`.
        window: how many stages a loss of a staged cascade reaches back over. 1 is SID; the number of stages is backpropagation with
            deep supervision. Memory, and the backward passes a stage takes, grow with it.
        optimizer: over the cascade's parameters; only `step` needs it.
        memory: teaches the stages by beliefs of one epoch before, instead of those of the same batch.
            Steps that do not say which samples they see leave it alone.

    What the stages minimise is `learner.objective`. It may be exchanged between two steps, to move α over time for instance:
    `learner.objective = dataclasses.replace(learner.objective, alpha=0.3)`.

    Raises:
        ValueError: a setting is unknown or out of range, or does not go with this kind of cascade.
    """

    def __init__(
        self,
        cascade: Cascade | StagedCascade,
        *,
        alpha: Alpha = 0.5,
        direction: Direction = "forward",
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        schedule: str = "streaming",
        combine: str = "sum",
        window: int = 1,
        optimizer: Optimizer | None = None,
        memory: BeliefMemory | None = None,
    ) -> None:
        self.module = cascade
        self.objective = LocalObjective(alpha=alpha, direction=direction, label_smoothing=label_smoothing, temperature=temperature)
        self.objective.alphas(cascade.depth)  # a sequence of another length than the cascade is an error now, not at step 1
        self.schedule = _schedule(cascade, schedule, combine, window)
        self.new_combiner = combiner_factory(combine)
        self.window = window
        self.optimizer = optimizer
        self.memory = memory
        if memory and schedule != "streaming":
            raise ScheduleError(f"schedule={schedule!r} makes teachers of its own: a memory goes with schedule='streaming'")

    def backward(self, x: Inputs, target: Tensor, *, weight: float | Tensor = 1.0, samples: Tensor | None = None) -> StepOutput:
        """Add `∇L_i` to every stage, and to a shared extractor their combination; step nothing.

        Args:
            x: the batch, `[B, ...]`; a staged cascade takes whatever its model takes.
            target: integer classes `[B]` or probability rows `[B, C]`.
            weight: multiplies the losses that are differentiated; a tensor `[L]` weighs the stages one by one.
            samples: which samples these are, int64 `[B]`, for the memory.

        Returns:
            Unweighted losses and all beliefs, detached.

        Raises:
            TargetError: the target does not fit; see `LocalObjective.log_target`.
            ScheduleError: the schedule cannot run this cascade.
            ValueError: `weight` is neither one number nor one a stage, or the memory has no such samples.
        """
        return self._run(self.prepare(x, target, weight=weight, samples=samples), samples)

    def step(self, x: Inputs, target: Tensor, *, weight: float | Tensor = 1.0, samples: Tensor | None = None) -> StepOutput:
        """Update every stage by the optimiser as soon as its loss is differentiated; arguments, result and errors as `backward`.

        Stage i has its new weights, and its gradients are gone, before stage i+1 runs forward: no stage waits for a later one, and
        gradients take the memory of one stage. The weights are those that `backward` and `optimizer.step()` would give.

        Raises:
            ValueError: the learner has no optimiser.
        """
        if self.optimizer is None:
            raise ValueError("step needs an optimiser: SID(cascade, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.1))")
        self.optimizer.zero_grad()
        return self._run(self.prepare(x, target, weight=weight, samples=samples, on_trained=self.update), samples)

    def _run(self, step: Step[Any], samples: Tensor | None) -> StepOutput:
        out = self.schedule(step)
        if self.memory and samples is not None:
            self.memory.remember(samples, out.log_beliefs)
        return out

    def update(self, stage: int) -> None:
        """Step the optimiser for stage `stage` (from 0), whose gradients are complete, and drop them."""
        assert self.optimizer is not None
        waiting = self._gradients_of_others(stage) if self.window > 1 else []
        for parameter, _ in waiting:
            parameter.grad = None
        self.optimizer.step()  # of the parameters that have a gradient, which are the stage's
        self.optimizer.zero_grad()
        for parameter, gradient in waiting:
            parameter.grad = gradient

    def _gradients_of_others(self, stage: int) -> list[tuple[Tensor, Tensor]]:
        """Return what later stages hold already of their gradient, by parameter: in a window, several losses reach them."""
        own = {id(parameter) for _, parameter in self.module.named_stage_parameters(stage)}
        return [(each, each.grad) for each in self.module.parameters() if each.grad is not None and id(each) not in own]

    def prepare(
        self,
        x: Inputs,
        target: Tensor,
        *,
        weight: float | Tensor = 1.0,
        samples: Tensor | None = None,
        log_belief: Tensor | None = None,
        on_belief: Callable[[int, Tensor, Tensor], None] = do_nothing,
        on_trained: Callable[[int], None] = do_nothing,
    ) -> Step[Any]:
        """Return what `backward` hands to the schedule, checked; arguments and errors as there, the others as in `Step`."""
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
            log_belief=log_belief,
            teachers=self.memory.teachers(samples).to(log_target) if self.memory and samples is not None else None,
            combiner=self.new_combiner(),
            window=self.window,
            on_belief=on_belief,
            on_trained=on_trained,
        )

    def log_target(self, x: Inputs, target: Tensor) -> Tensor:
        """Return the smoothed target `p_y` of each sample of `x` as log-probabilities `[B, C]`, in the precision of the beliefs.

        Raises:
            TargetError: the target does not fit; see `LocalObjective.log_target`.
        """
        prior = self.module.log_prior
        dtype = torch.promote_types(prior.dtype, torch.float32)
        log_target = self.objective.log_target(target, self.module.num_classes, dtype=dtype)
        check_one_target_a_sample(log_target, batch_size(x))
        return log_target.to(prior.device)

    @torch.no_grad()
    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the belief after every stage, `[L+1, B, C]`."""
        return self.module.log_beliefs(x)


def _schedule(cascade: Cascade | StagedCascade, name: str, combine: str, window: int) -> Callable[[Step[Any]], StepOutput]:
    """Return the function that runs a step, or raise when the settings do not go together."""
    schedule: Callable[[Step[Any]], StepOutput] = schedules.get(name)
    problems = []
    if isinstance(cascade, StagedCascade):
        if name != "streaming":
            problems.append(f"schedule={name!r} runs shared cascades: a staged cascade streams, use schedule='streaming'")
        if combine != "sum":
            problems.append(
                f"combine={combine!r} merges gradients in a shared extractor, which a staged cascade has not: leave it out"
            )
        if not 1 <= window <= cascade.depth:
            problems.append(f"window={window}: allowed is 1 (SID) to {cascade.depth}, the number of stages (end to end)")
        schedule = staged_pass
    elif window != 1:
        problems.append(f"window={window} reaches back through the stages of a staged cascade: leave it out for a shared one")
    if problems:
        raise ScheduleError("; ".join(problems))
    return schedule
