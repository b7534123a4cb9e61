"""A contender once it is built: a network with its own weights, and a function that takes one training step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.utils.checkpoint import checkpoint

from torchsid.bench.recorder import EXTRACTOR_UPDATE, FORWARD, TEACHERS, UPDATE, Recorder, Span
from torchsid.bench.workload import CHECKPOINTING, DEEP_SUPERVISION, PLAIN, REFERENCE, SID, TWO_PHASE, Procedure, Workload
from torchsid.core import schedules
from torchsid.core.beliefs import to_log_belief
from torchsid.core.capture import WARM_UP, CapturedStep
from torchsid.core.objective import LocalObjective
from torchsid.core.peak_memory import kept_bytes
from torchsid.core.shared import SharedCascade
from torchsid.core.staged import StagedCascade
from torchsid.cut.assemble import By
from torchsid.cut.graph import GraphSegments
from torchsid.learners import backprop, sid

GRADIENTS = "gradients"  # what a step does besides updating, where it is not taken apart
_IN_A_ROW = 5  # steps between two readings of the clock on a device, which works on while the next one is launched


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """A network and one way to train it."""

    module: nn.Module
    step: Callable[[], object]  # forward, backward and update of one batch, as far as they fall to this process
    recorder: Recorder  # told by hooks what the step is doing
    eager_step: Callable[[], object] | None = None  # the step as it was before it was captured
    in_a_row: int = 1  # steps between two readings of the clock
    flush: Callable[[], None] = lambda: None  # wait until everything that was sent has left
    sent_bytes: Callable[[], int] = lambda: 0  # by this worker, since it began

    def watched_step(self) -> tuple[Span, ...]:
        """Take a step, or several in a row, and return what was done when."""
        self.recorder.end()  # of waiting: the step begins
        for _ in range(self.in_a_row):
            self.step()
        return self.recorder.take()

    def kept_bytes(self) -> int:
        """Return the most that autograd keeps for backward during a step, which is taken; see `torchsid.core.peak_memory`."""
        return kept_bytes(self.module, self.eager_step or self.step)


def build(workload: Workload, contender: Procedure, *, by: By | None = None, follow: bool | None = None) -> Trainable:
    """Return a contender with fresh weights, the same for all that share their shapes.

    If `follow`, hooks tell the recorder what a step does: by default on a processor, where it is neither compiled nor captured. A
    model that cannot be cut is a CutError, a step that cannot be captured a RuntimeError.
    """
    module = _network(workload, contender, by)
    optimizers = _optimizers(workload, contender, module)
    learner = _learner(workload, contender, module, next(iter(optimizers)))
    recorder = Recorder(GRADIENTS, workload.device)
    told = workload.device == "cpu" and not (workload.has("compiled") or workload.has("captured")) if follow is None else follow
    if told:
        for optimizer, what in optimizers.items():
            recorder.follow_updates(optimizer, what)
        _follow(recorder, workload, contender, module)
    in_a_row = 1 if told or workload.device == "cpu" else _IN_A_ROW
    at_once = contender.method == SID and contender.window == contender.micro_batches == 1

    def step(x: Tensor, target: Tensor) -> None:
        if at_once:
            with workload.arithmetic():
                learner.step(x, target)
            return
        for optimizer in optimizers:
            optimizer.zero_grad()
        parts = zip(*(each.tensor_split(contender.micro_batches) for each in (x, target)), strict=True)
        for part, outcomes in parts:
            with workload.arithmetic():
                learner.backward(part, outcomes, scale=len(part) / len(x))
        for optimizer in optimizers:
            optimizer.step()

    batch = workload.batch()
    eager = Trainable(module=module, step=lambda: step(*batch), recorder=recorder, in_a_row=in_a_row)
    if not workload.has("captured"):
        return eager
    captured = CapturedStep(step, learner, next(iter(optimizers)), warn=_refuse)
    for _ in range(1 + WARM_UP):
        captured(*batch)
    return replace(eager, step=lambda: captured(*batch), eager_step=eager.step)


def _refuse(reason: str) -> None:
    raise RuntimeError(reason)


def new_optimizer(module: nn.Module) -> optim.SGD:
    """Return the optimiser of everyone who trains a classifier, in the form that the training loop takes."""
    return optim.SGD(module.parameters(), lr=0.01, momentum=0.9, fused=True)


def _network(workload: Workload, contender: Procedure, by: By | None) -> nn.Module:
    if contender.method in (SID, DEEP_SUPERVISION) or (workload.shared and contender.method != PLAIN):
        cascade = workload.new_cascade(contender.stages, by)
        if workload.has("compiled") and isinstance(cascade, StagedCascade):
            cascade.compile_stages()
        return cascade
    module = workload.new_model()
    if contender.method == CHECKPOINTING:
        plan = getattr(workload.new_cascade(contender.stages), "plan", None)
        assert plan is not None
        module = Checkpointed(module, [stage.cut for stage in plan.stages[:-1]])
    if workload.has("compiled"):
        for part in module.segments.modules if isinstance(module, Checkpointed) else (module,):
            part.compile()
    return module


def _optimizers(workload: Workload, contender: Procedure, module: nn.Module) -> dict[optim.Optimizer, str]:
    """Return the optimisers and what they update: of a shared cascade Adam, one a module as in the public code, or two in all."""
    if not workload.shared:
        return {new_optimizer(module): UPDATE}

    def new(module: nn.Module) -> optim.Optimizer:
        return optim.Adam(module.parameters(), fused=True, capturable=workload.has("captured"))

    if not isinstance(module, SharedCascade):
        return {new(module): UPDATE}
    owners = module.stages if contender.method == REFERENCE else [module.stages]
    return {**dict.fromkeys(map(new, owners), UPDATE), new(module.extractor): EXTRACTOR_UPDATE}


def _learner(workload: Workload, contender: Procedure, module: Any, optimizer: optim.Optimizer) -> Any:
    if contender.method in (SID, DEEP_SUPERVISION):
        return sid.SID(module, window=contender.window, candidates=workload.candidates, optimizer=optimizer)
    if contender.method in schedules.DESCRIPTIONS:
        return sid.SID(module, schedule=contender.method)
    return Reference(module) if contender.method == REFERENCE else backprop.Backprop(module)


def _follow(recorder: Recorder, workload: Workload, contender: Procedure, module: Any) -> None:
    """Tell the recorder what a step does, as far as hooks on modules can."""
    if contender.method == TWO_PHASE:
        recorder.rest = TEACHERS
        recorder.follow_extractor(module.extractor)
    elif contender.method == SID and contender.window == 1:
        recorder.rest = FORWARD  # and so it goes on after an update, where the pieces are no modules
        for piece, head in zip(module.segments.modules or [None] * module.depth, module.heads, strict=True):
            recorder.follow(piece, head)
    elif not workload.shared and contender.method != DEEP_SUPERVISION:
        recorder.rest = FORWARD
        recorder.follow(module, module)


class Checkpointed(nn.Module):
    """A classifier whose pieces run under `torch.utils.checkpoint`, all but the last, as in `checkpoint_sequential`.

    Its gradients are the model's. Running statistics (BatchNorm) are updated twice a step. The reentrant implementation computes
    again in sight of saved-tensor hooks, as measuring kept bytes needs. The model must draw no random numbers: their state, which
    would have to be kept, cannot be read while a step is captured.
    """

    def __init__(self, model: nn.Module, cuts: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.segments = GraphSegments(model, cuts)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits `[B, C]`."""
        *pieces, last = self.segments.modules
        values: tuple[Tensor, ...] = (x,)
        anchor = torch.empty(0, requires_grad=True)  # without an input to differentiate, parameters would have no gradient
        for piece in pieces:
            values = checkpoint(
                lambda anchor, *inputs, run=piece: run(*inputs), anchor, *values, use_reentrant=True, preserve_rng_state=False
            )
        logits: Tensor = last(*values)
        return logits


class Reference:
    """Trains a shared cascade as the public code of its authors does; the gradients are those of the schedules."""

    delays_gradients = False

    def __init__(self, cascade: SharedCascade, objective: LocalObjective | None = None) -> None:
        self.module = cascade
        self.objective = objective or LocalObjective()

    def backward(self, x: Tensor, target: Tensor, *, scale: float = 1.0) -> Tensor:
        """Fill `.grad` and return the summed loss: teacher pass, second forward with gradients, `Σ_i L_i`, one backward.

        It holds every stage's graph at once. The loss that is differentiated is multiplied by `scale`.
        """
        cascade = self.module
        with torch.no_grad():
            teachers = cascade.log_beliefs(x)[:-1]
        log_target = self.objective.log_target(target, cascade.num_classes, dtype=teachers.dtype)
        z = cascade.extractor(x)
        total = z.new_zeros(())
        for stage, teacher, alpha in zip(cascade.stages, teachers, self.objective.alphas(cascade.depth), strict=True):
            _, logits = stage(z, teacher)
            total = total + self.objective(to_log_belief(logits), log_target, teacher, alpha).mean()
        (scale * total).backward()
        loss: Tensor = total.detach()
        return loss
