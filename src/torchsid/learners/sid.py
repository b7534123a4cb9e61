"""SID: Synergistic Information Distillation (arXiv 2510.03273)."""

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchsid.core import schedules
from torchsid.core.beliefs import classes_of, number_like, share
from torchsid.core.calling import Inputs
from torchsid.core.cascade import Cascade, as_cascade, do_nothing
from torchsid.core.combine import COMBINERS, Combine
from torchsid.core.lazy_logits import pays
from torchsid.core.learner import Learner, Lock, StepOutput
from torchsid.core.objective import Alpha, Direction, LocalObjective, alphas_of
from torchsid.core.pitfalls import Lookout, check_optimizer
from torchsid.core.schedules import Schedule
from torchsid.core.shared import SharedCascade
from torchsid.core.step import Step
from torchsid.core.weighting import counted
from torchsid.learners.predictions import BeliefMemory
from torchsid.settings import Count, CountOrZero, Temperature, Weight, checked, settings_of

_WAITING = "no head may read the previous belief, the model must end in a linear layer and stages not be compiled"

AlphaOver = Literal["stages", "epochs"]
Teachers = Literal["same-batch", "last-epoch"]
Update = Literal["together", "stage"]


class SID(Learner):
    """Trains a cascade by local losses; `learner.backward(x, target)` takes the place of `loss.backward()`.

        L_i = α_i · D(p_i, p_y) + (1 − α_i) · D(p_i, sg(p_{i−1}))

    What the stages minimise is `learner.objective`. It may be replaced between two steps, for instance to change α over time:
    `learner.objective = dataclasses.replace(learner.objective, alpha=0.3)`.

    Args:
        cascade: a shared or a staged cascade.
        alpha: weight of the target in [0, 1]: a number, one a stage, or a schedule, `"linear:FIRST:LAST"`, `"cosine:FIRST:LAST"`,
            `"step:FIRST:LAST"` (LAST at the last alone) or `"ends:ENDS:BETWEEN"`. `"auto"` is 0.5 for a shared cascade, the
            paper's, and `"step:0.5:1"` for a staged one, whose last stage answers for the model: with α below 1 its belief would
            stay between target and teacher. Where each token is answered it is `"ends:1:0.75"`: what follows is never sure, and a
            first stage with α below 1 would stay between target and prior.
        alpha_over: what a schedule in `alpha` runs over. `"epochs"`: all stages have FIRST in the first epoch and LAST in the last.
        direction: `"forward"`: D(p, q) = KL(q‖p), finite with one-hot targets; `"reverse"`: KL(p‖q), the paper's theory, which
            needs label smoothing.
        temperature: of the previous belief as a teacher; above 1 it is softer, below 1 sharper.
        label_smoothing: share ε of the target that is spread evenly over the outcomes.
        schedule: how a step is executed: `"streaming"` (least memory), `"two_phase"` (the paper's) or `"batched"` (stages stacked).
            All give the same gradients. A staged cascade streams.
        combine: how a shared extractor merges the stages' gradients: `"sum"` (the paper's), `"mean"` or `"pcgrad"`.
        window: how many stages a loss of a staged cascade reaches back over. 1 is SID; the number of stages is backpropagation
            with deep supervision. Memory and backward passes per stage grow with it.
        teachers: whose beliefs a stage learns from: `"same-batch"`, the previous stage's, or `"last-epoch"`, those on the same
            samples one epoch before, so that no stage has to wait.
        candidates: where outcomes are many, how many of them the stages before the last tell apart in a step, beside those of the
            batch, drawn anew for each stage; 0: all. See `core/candidates.py`. What `StepOutput` says of these stages is among the
            candidates. Needs heads that do not read beliefs, such as `readout`.
        update: `"together"`: the optimiser steps when all stages have their gradients. `"stage"`: a staged cascade updates each
            stage at once; the weights are the same to the bit, and only one stage's gradients are in memory.
        optimizer: over the cascade's parameters, for `step` in a loop of your own.

    Raises:
        ValueError: a setting is unknown or out of range, or does not go with another or with this kind of cascade; names all.
    """

    networks: ClassVar[tuple[str, ...]] = ("cascade", "staged")
    locks: ClassVar[frozenset[Lock]] = frozenset({"forward"})
    transports_weights: ClassVar[bool] = False
    trains_stages: ClassVar[bool] = True
    runs_on_workers: ClassVar[bool] = True
    module: Cascade
    objective: LocalObjective
    window: int
    lookout: Lookout

    @checked
    def __init__(
        self,
        cascade: Cascade,
        *,
        alpha: Alpha = "auto",
        alpha_over: AlphaOver = "stages",
        direction: Direction = "forward",
        temperature: Temperature = 1.0,
        label_smoothing: Weight = 0.0,
        schedule: Schedule = "streaming",
        combine: Combine = "sum",
        window: Count = 1,
        teachers: Teachers = "same-batch",
        candidates: CountOrZero = 0,
        update: Update = "together",
        optimizer: Optimizer | None = None,
    ) -> None:
        cascade = as_cascade(cascade, type(self).__name__)
        network = "cascade" if isinstance(cascade, SharedCascade) else "staged"
        of_step = {"schedule": schedule, "combine": combine, "window": window, "teachers": teachers, "update": update}
        of_loss = {"direction": direction, "temperature": temperature, "label_smoothing": label_smoothing, "candidates": candidates}
        settings = {"alpha": alpha, "alpha_over": alpha_over, **of_loss, **of_step}
        if problems := self.problems(settings, network=network, depth=cascade.depth, epochs=None):
            raise ValueError("; ".join(problems))
        if optimizer is not None:
            check_optimizer(optimizer, cascade)
        self.module = cascade
        if alpha == "auto":
            alpha = "ends:1:0.75" if cascade.positions == "tokens" else "step:0.5:1" if network == "staged" else 0.5
        self.alpha, self.alpha_over = alpha, alpha_over
        finished = alpha if alpha_over == "stages" else LocalObjective(alpha=alpha).alphas(2)[-1]  # of the last epoch
        self.objective = LocalObjective(
            alpha=finished, direction=direction, label_smoothing=label_smoothing, temperature=temperature
        )
        self.schedule = schedules.get(schedule)
        self.combine = combine
        self.window = window
        self.update = update
        self.teachers = teachers
        self.remembers_samples = teachers == "last-epoch"
        self.candidates = candidates
        self._others = (candidates,) * (cascade.depth - 1) + (0,)
        self.optimizer = optimizer
        if candidates and not self.logits_can_wait:
            raise ValueError(f"candidates = {candidates}: {_WAITING}; set candidates to 0, or choose the head 'readout'")
        self.memory: BeliefMemory | None = None  # of one epoch before, with `teachers="last-epoch"`; made by `prepare_training`
        self._epochs = 1
        self.lookout = Lookout(cascade)

    @classmethod
    def problems(cls, settings: Mapping[str, Any], *, network: str, depth: int, epochs: int | None) -> list[str]:
        """Return which settings clash; see `Learner.problems`. Without `epochs`, only what any number of them clashes with."""
        given = {name: each.default for name, each in settings_of(cls).items()} | dict(settings)
        foreign = super().problems(settings, network=network, depth=depth, epochs=epochs or 1)
        return foreign or list(_clashes(given, network=network, depth=depth, epochs=epochs))

    @classmethod
    def updates_at_once(cls, settings: Mapping[str, Any]) -> bool:
        """Return whether every stage is updated as soon as its loss is differentiated."""
        return settings.get("update") == "stage"

    def prepare_training(self, *, samples: int, epochs: int, optimizer: Optimizer, answer: torch.Size) -> None:
        """Make the memory of beliefs and keep the optimiser, where the settings ask for them; see `Learner.prepare_training`."""
        super().prepare_training(samples=samples, epochs=epochs, optimizer=optimizer, answer=answer)
        self._epochs = epochs
        if self.remembers_samples:
            self.memory = BeliefMemory(samples, self.module.depth, self.module.log_prior.expand(answer))
        if self.update == "stage":
            self.optimizer = optimizer

    def begin_epoch(self, epoch: int) -> None:
        """Set the objective of an epoch, where α moves over them."""
        if self.alpha_over == "epochs":
            self.objective = replace(self.objective, alpha=LocalObjective(alpha=self.alpha).alphas(self._epochs)[epoch - 1])

    def state(self) -> dict[str, Tensor]:
        """Return the remembered beliefs, if there are any."""
        return self.memory.tensors() if self.memory else {}

    def backward(
        self,
        x: Inputs,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        scale: float | Tensor = 1.0,
        samples: Tensor | None = None,
        on_belief: Callable[[int, Tensor], None] = do_nothing,
    ) -> StepOutput:
        """Add `∇L_i` to every stage, and to a shared extractor their combination; step nothing. See `Learner.backward`.

        Raises:
            TargetError: the target does not fit; see `LocalObjective.log_target`.
            ScheduleError: the schedule cannot run this cascade.
            NonFiniteError: a parameter holds NaN or infinity from the start.
            ValueError: nothing would be trained, `weight` or `scale` has another shape, or the memory has no such samples.
        """
        lazy = self.logits_wait(target, on_belief)
        return self.take(self.new_step(x, target, weight=weight, scale=scale, samples=samples, on_belief=on_belief, lazy=lazy))

    def take(self, step: Step) -> StepOutput:
        """Execute a step of `new_step` by the schedule; parameters get their gradients."""
        self.module.begin_step()
        out = self.schedule(step)
        self.lookout.end()
        return out

    def step(
        self,
        x: Inputs,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        scale: float | Tensor = 1.0,
        samples: Tensor | None = None,
        on_belief: Callable[[int, Tensor], None] = do_nothing,
    ) -> StepOutput:
        """Update every stage by the optimiser as soon as its loss is differentiated; arguments, result and errors as `backward`.

        Stage i has its new weights, and its gradients are gone, before stage i+1 runs forward: no stage waits for a later one,
        and only one stage's gradients are in memory. The weights are those that `backward` and `optimizer.step()` would give.

        Raises:
            ValueError: the learner has no optimiser.
        """
        if self.optimizer is None:
            raise ValueError("step needs an optimiser: SID(cascade, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.1))")
        lazy = self.logits_wait(target, on_belief)
        step = self.new_step(x, target, weight=weight, scale=scale, samples=samples, on_belief=on_belief, lazy=lazy)
        self.optimizer.zero_grad()
        self.module.begin_step()
        out = self.schedule(replace(step, on_trained=self.update_stage))
        self.lookout.end(self.optimizer)
        return out

    def update_stage(self, stage: int) -> None:
        """Step the optimiser for stage `stage` (from 0), whose gradients are complete, and drop them."""
        assert self.optimizer is not None
        waiting: list[tuple[Tensor, Tensor]] = []
        if self.window > 1:  # several losses reach a stage: later ones have a part of their gradient already
            own = {id(parameter) for _, parameter in self.module.named_stage_parameters(stage)}
            waiting = [(each, each.grad) for each in self.module.parameters() if each.grad is not None and id(each) not in own]
        for parameter, _ in waiting:
            parameter.grad = None
        self.optimizer.step()  # of the parameters that have a gradient, which are the stage's
        self.optimizer.zero_grad()
        for parameter, gradient in waiting:
            parameter.grad = gradient

    def new_step(
        self,
        x: Inputs,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        scale: float | Tensor = 1.0,
        samples: Tensor | None = None,
        on_belief: Callable[[int, Any], None] = do_nothing,
        lazy: bool = False,
    ) -> Step:
        """Return what `backward` hands to the schedule, checked; arguments and errors as there, and `lazy` if logits shall wait."""
        self.lookout.begin()
        weight = counted(target, weight)
        aim = classes_of(target, self.module.num_classes, weight) if lazy else self.log_target(target, weight)
        like = self.module.log_prior.to(self._dtype)
        depth = self.module.depth
        scales = number_like(like, scale)
        if scales.shape not in ((), (1,), (depth,)):
            raise ValueError(f"scale has shape {list(scales.shape)}: give one number, or one a stage, [{depth}]")
        teachers, told = None, on_belief
        if self.remembers_samples and samples is not None:
            if self.memory is None:
                raise ValueError("teachers='last-epoch' remembers every sample: call prepare_training before the first step")
            memory, places = self.memory, samples
            teachers = memory.teachers(places).to(like)

            def told(stage: int, log_belief: Tensor) -> None:
                memory.remember(places, stage, log_belief)
                on_belief(stage, log_belief)

        return Step(
            cascade=self.module,
            objective=self.objective,
            x=x,
            target=aim.to(like.device),
            share=None if weight is None else share(weight.to(like)),
            others=self._others,
            scales=scales.expand(depth),
            teachers=teachers,
            combiner=COMBINERS[self.combine](),
            window=self.window,
            on_belief=told,
        )

    def log_target(self, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the smoothed target `p_y` for a batch as log-probabilities `[B, ..., C]`, in the precision of the beliefs.

        The weight is what the positions count, all told; see `torchsid.core.weighting.counted` and `LocalObjective.log_target`.
        """
        log_target = self.objective.log_target(target, self.module.num_classes, weight=weight, dtype=self._dtype)
        return log_target.to(self.module.log_prior.device)

    @property
    def _dtype(self) -> torch.dtype:
        """The precision of the beliefs."""
        return torch.promote_types(self.module.log_prior.dtype, torch.float32)

    def logits_wait(self, target: Tensor, on_belief: Callable[[int, Tensor], None] = do_nothing) -> bool:
        """Return whether a step makes no logits, but for a few rows at a time: see `core/lazy_logits.py`.

        So it is where they would be many numbers or some are candidates, targets are classes, all heads can do without, and nobody
        asks for beliefs. A ValueError where it cannot be so and must.
        """
        classes = isinstance(target, Tensor) and not target.is_floating_point()
        possible = classes and on_belief is do_nothing and self.logits_can_wait
        if self.candidates and not possible:
            raise ValueError(f"candidates = {self.candidates}: {_WAITING}, targets must be classes, and on_belief left out")
        return possible and (self.candidates > 0 or pays(target.numel(), self.module.num_classes))

    @property
    def logits_can_wait(self) -> bool:
        """Whether the method and all heads can do without logits."""
        return self.objective.direction == "forward" and not self.remembers_samples and self.module.can_wait

    def of_part(self, part: Cascade, stages: range, optimizer: Optimizer) -> "SID":
        """Return this method for some neighbouring stages (from 0) alone, which are a cascade of their own."""
        method = copy(self)
        method.module, method.optimizer, method.lookout = part, optimizer, Lookout(part)
        method.objective = self.objective.of_stages(stages, self.module.depth)
        method._others = self._others[stages.start : stages.stop]
        method.memory = self.memory.of_stages(stages) if self.memory else None
        return method


def _clashes(settings: Mapping[str, Any], *, network: str, depth: int, epochs: int | None) -> Iterator[str]:
    """Yield which of SID's settings, each given, do not go together or with the cascade."""
    alpha_over, schedule, combine, window = (settings[name] for name in ("alpha_over", "schedule", "combine", "window"))
    alpha = settings["alpha"]
    try:
        alphas_of(0.5 if alpha == "auto" else alpha, depth)
    except ValueError as error:
        yield str(error)
    if alpha_over == "epochs" and (not isinstance(alpha, str) or alpha == "auto"):
        yield f"alpha_over = 'epochs' needs a schedule in alpha, not {alpha!r}: set 'linear:FIRST:LAST' or 'cosine:FIRST:LAST'"
    if alpha_over == "epochs" and epochs == 1:
        yield "alpha_over = 'epochs' leads from the first epoch to the last: train for 2 epochs or more, or set it to 'stages'"
    if epochs and settings["direction"] == "reverse" and settings["label_smoothing"] == 0:
        yield "direction = 'reverse' is infinite for one-hot targets: set label_smoothing above 0 (0.1 is usual), or take 'forward'"
    if settings["teachers"] == "last-epoch" and schedule != "streaming":
        yield f"schedule = {schedule!r} makes teachers of its own: set it to 'streaming', or teachers to 'same-batch'"
    if settings["candidates"]:
        kept = {"direction": "forward", "temperature": 1.0, "label_smoothing": 0.0, "teachers": "same-batch"}
        if network != "staged":
            yield "candidates are for the stages of a staged cascade: leave it out for a shared one"
        for name, value in kept.items():
            if settings[name] != value:
                yield f"candidates need {name} = {value!r}, not {settings[name]!r}: set it so, or candidates to 0"
    if network == "staged":
        if schedule != "streaming":
            yield f"schedule = {schedule!r} runs a shared cascade; a staged one streams: leave it out"
        if combine != "sum":
            yield f"combine = {combine!r} merges gradients in a shared extractor, which a staged cascade has not: leave it out"
        if window > depth:
            yield f"window = {window} reaches over more stages than there are: set it to {depth} (end to end) or less, 1 is SID"
        if settings["update"] == "stage" and window > 1:
            yield f"update = 'stage' changes weights that the other losses of window = {window} need: set one to its default"
    else:
        if window != 1:
            yield f"window = {window} reaches back through the stages of a staged cascade: leave it out for a shared one"
        if settings["update"] != "together":
            yield "update = 'stage' is for a staged cascade: a shared extractor waits for all stages, leave it out"
