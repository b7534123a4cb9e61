"""One step of training: its learning rate, what it does, and what it measures."""

import math
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.capture import CapturedStep
from torchsid.training.batches import Batch
from torchsid.training.config import OptimizerConfig
from torchsid.training.evaluation import outcome_of
from torchsid.training.measured import Measured, Meter, Sums
from torchsid.training.setup import Setup

_FIRST_SHARE = 1 / 25  # one-cycle starts here, as in Smith and Topin (arXiv 1708.07120) and torch.optim.lr_scheduler.OneCycleLR,
_LAST_SHARE = 1 / 250_000  # and ends here; both are shares of the peak


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Return the learning rate of step `step` (counted from 0) of a run of `steps` steps.

    constant and cosine rise in a straight line over the warm-up: `peak · (step + 1) / warm-up steps`; cosine then falls as
    `peak · (1 + cos π t) / 2` with t from 0 to 1. one-cycle anneals up from peak/25 and down to peak/250,000, both as cosines.
    """
    peak, last = config.learning_rate, steps - 1
    if config.schedule == "one-cycle":
        top = config.warmup * steps - 1  # the step of the peak; a fraction, as in OneCycleLR
        if step <= top:
            return _anneal(peak * _FIRST_SHARE, peak, step / top if top else 1.0)
        return _anneal(peak, peak * _LAST_SHARE, (step - top) / (last - top))
    warmup = round(config.warmup * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if config.schedule == "cosine":
        return _anneal(peak, 0.0, (step - warmup) / max(steps - warmup, 1))
    return peak


def _anneal(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


class Trainer:
    """Takes training steps, and waits for none: what they measure stays on the device until it is read.

    A step is bad where inputs, losses or gradients hold NaN or infinity. It is left out: weights, optimiser and running statistics
    stay as they were, unless the learner has the optimiser itself and updates every stage at once. With `training.on_non_finite =
    "error"` all later steps are left out too, so that whoever reads finds everything as it was before the first bad one.
    """

    def __init__(self, setup: Setup, warn: Callable[[str], object] = warnings.warn) -> None:
        def uncaptured(reason: str) -> None:
            warn(f"{reason} (training.capture = 'off' does so without a try)")

        self.setup = setup
        self.captured: CapturedStep[[Batch], Measured] | None = None  # what replays `compute`, where steps are captured
        if setup.captures:
            self.captured = CapturedStep(self.compute, setup.learner, setup.optimizer, warn=uncaptured)
        self.meter = Meter(setup.device)
        # 1 where the step is left out, else 0; the optimiser's `found_inf`, as of a `GradScaler`.
        self.bad = torch.zeros((), device=setup.device)
        setup.optimizer.found_inf = self.bad  # type: ignore[attr-defined]
        # Listed once: looking them up takes longer than their part in a small step.
        self._parameters = dict(setup.learner.module.named_parameters())
        self._buffers = list(setup.learner.module.buffers())

    def begin(self, step: int, sums: Sums) -> None:
        """Go on after `step` steps of an epoch, with what they have measured."""
        self.setup.learner.module.train()
        self.meter.begin(step, sums)

    def take(self, batch: Batch, learning_rate: float) -> None:
        """Take a step."""
        for group in self.setup.optimizer.param_groups:
            group["lr"].fill_(learning_rate * group["rate_factor"])
        compute = self.captured or self.compute
        self.meter.add(compute(batch))

    def read(self, sums: Sums) -> str:
        """Bring the sums up to date, and return which step of the epoch was the first bad one and why; nothing, if none was."""
        step, evidence = self.meter.read(sums)
        return f"step {step}: {self._why(evidence)}" if sums.skipped_steps else ""

    def compute(self, batch: Batch) -> Measured:
        """Do all of a step that is done on the device, from a batch that is there.

        It gathers, augments, trains, measures and updates by tensor operations alone: none waits for the device, none copies to it,
        and their shapes follow from the batch's, so that they can be captured as a CUDA graph.
        """
        setup = self.setup
        learner, clip_gradient = setup.learner, setup.config.optimizer.clip_gradient
        x, target, weight = setup.batches.examples(batch)
        before = _Copies(self._buffers)  # running statistics: a few kilobytes at most
        setup.optimizer.zero_grad()
        with setup.autocast():
            forward_and_backward = learner.step if learner.optimizer else learner.backward
            out = forward_and_backward(x, target, weight=weight, samples=batch.samples)
        gradients = [parameter.grad for parameter in self._parameters.values() if parameter.grad is not None]
        # None is left if stages were updated at once.
        norms = torch.stack(torch._foreach_norm(gradients)) if gradients else torch.zeros(0, device=x.device)
        norm = torch.linalg.vector_norm(norms)
        if clip_gradient:
            nn.utils.clip_grads_with_norm_(self._parameters.values(), clip_gradient, norm)
        losses = out.stage_losses.detach().to(x.device, torch.float64)
        finite = x.isfinite().all().double().reciprocal()  # or infinite
        sound = norms.isfinite().long().cumprod(0).sum().double()  # how many, up to the first that is not
        evidence = torch.cat([losses, torch.stack([finite, norm.double(), sound])])
        bad = 1 - evidence.isfinite().all().float()
        self.bad.copy_(torch.maximum(self.bad, bad) if setup.config.training.on_non_finite == "error" else bad)
        before.put_back(self.bad > 0)
        if not learner.optimizer:
            _make_momentum(setup.optimizer)
            setup.optimizer.step()

        answers = out.log_belief.argmax(dim=-1).unsqueeze(0) if out.answers is None else out.answers  # some methods do not say
        outcome = outcome_of(target)
        right = answers == outcome
        weights = torch.ones_like(outcome, dtype=torch.float64) if weight is None else weight.double()
        positions, left_out = weights.sum(), self.bad > 0
        counted = torch.stack([torch.full_like(positions, len(target)), positions]).masked_fill(left_out, 0.0)
        return Measured(
            counts=torch.cat([torch.ones_like(counted[:1]), self.bad.double().view(1), counted]),
            stage_losses=(losses * positions).masked_fill(left_out, 0.0),
            correct=(right * weights).flatten(1).sum(1).masked_fill(left_out, 0.0),
            evidence=evidence,
        )

    def _why(self, evidence: list[float]) -> str:
        *losses, finite, _, sound = evidence
        if not math.isfinite(finite):
            return "the inputs hold NaN or infinity"
        for stage, value in enumerate(losses, 1):
            if not math.isfinite(value):
                return f"the loss of stage {stage} is {value}"
        names = [name for name, parameter in self._parameters.items() if parameter.grad is not None]
        if sound < len(names):
            return f"the gradient of {names[int(sound)]} holds NaN or infinity"
        return "the norm of the gradient overflows"


class _Copies:
    """Copies of some tensors, of each type in one piece: few operations, however many they are."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault(tensor.dtype, []).append(tensor)
        self._copies = [(kind, _joined(kind)) for kind in kinds.values()]

    def put_back(self, where: Tensor) -> None:
        """Make the tensors again what they were, where a bool scalar on the device says so."""
        for kind, before in self._copies:
            parts = torch.split(torch.where(where, before, _joined(kind)), [tensor.numel() for tensor in kind])
            torch._foreach_copy_(kind, [part.view_as(tensor) for part, tensor in zip(parts, kind, strict=True)])


def _joined(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _make_momentum(optimizer: Optimizer) -> None:
    """Begin momentum with zeros; PyTorch makes it at the first step, and leaves it undefined if `found_inf` forbids that step."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            if parameter.grad is not None and "momentum_buffer" not in optimizer.state[parameter]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
