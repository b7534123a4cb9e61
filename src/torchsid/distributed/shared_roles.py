"""What each worker of a shared cascade does: the first has the extractor, the others have groups of stages; see `shared.py`."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor
from torch.func import functional_call
from torch.optim import Optimizer

from torchsid.core.calling import Inputs, call
from torchsid.core.objective import LocalObjective
from torchsid.core.shared import SharedCascade
from torchsid.core.step import local_pass
from torchsid.distributed.channel import Incoming, Outgoing
from torchsid.distributed.handover import Handover, Wire, decode, encode
from torchsid.distributed.world import World
from torchsid.learners.sid import SID

_ANSWERS = 1  # the tag of the second channel between two groups


class Ring:
    """The channels of one worker.

    Features go from worker to worker as they come. Answers (beliefs, losses and `Σ∂L/∂z` so far) follow from group to group when
    they are there, and from the last group that gradient goes back to the extractor.

    Args:
        world: this worker's place.
        features, answers: bytes of the largest message of each kind behind a position.
        wire, queue, staleness: as for `SharedPipelinedSID`.
    """

    def __init__(
        self, world: World, features: int, answers: Callable[[int], int], *, wire: Wire, queue: int, staleness: int
    ) -> None:
        position, last, under_way = world.position, world.positions - 1, max(queue, staleness + 1)
        self.request = 0
        self._wire, self._device = wire, world.device

        def outgoing(to: int, capacity: int, tag: int = 0) -> Outgoing:
            return Outgoing(world, capacity=capacity, queue=under_way, step=to - position, tag=tag)

        def incoming(at: int, capacity: int, tag: int = 0) -> Incoming:
            return Incoming(world, capacity=capacity, queue=under_way, step=position - at, tag=tag)

        self._features_out = None if world.is_last else outgoing(position + 1, features)
        self._features_in = None if world.is_first else incoming(position - 1, features)
        self._answers_in = incoming(position - 1, answers(position - 1), _ANSWERS) if position > 1 else None
        self._gradients = incoming(last, answers(last)) if world.is_first else None
        self._answers_out = None
        if world.is_last:
            self._answers_out = outgoing(0, answers(last))
        elif position:
            self._answers_out = outgoing(position + 1, answers(position), _ANSWERS)
        self._closes = world.is_last

    @property
    def sent_bytes(self) -> int:
        """The bytes that this worker has sent so far."""
        return sum(channel.sent_bytes for channel in (self._features_out, self._answers_out) if channel)

    def receive_features(self) -> Handover:
        """Return `z`, the prior, and no losses; the next worker gets them at once."""
        assert self._features_in is not None
        arrived = decode(self._features_in.receive(), self._device)
        self.request = arrived.request
        self.send_features(arrived)
        return arrived

    def send_features(self, features: Handover) -> None:
        """Send `z` to the next worker, if there is one."""
        if self._features_out:
            self._features_out.send(*encode(features, self._wire, self._device))

    def receive_answers(self, features: Handover) -> Handover:
        """Return what the groups before answered; before the first, the prior."""
        return decode(self._answers_in.receive(), self._device) if self._answers_in else replace(features, values=())

    def send_answers(self, answers: Handover) -> None:
        """Send answers on; the last group sends the gradient back to the extractor, and after an evaluation nothing."""
        if self._answers_out and (answers.values or not self._closes):
            answers = replace(answers, stage_losses=None) if self._closes else answers
            self._answers_out.send(*encode(answers, self._wire, self._device))

    def receive_gradient(self) -> Tensor:
        """Return `Σ_i ∂L_i/∂z` of the oldest batch for which the extractor has none yet."""
        assert self._gradients is not None
        gradient: Tensor = decode(self._gradients.receive(), self._device).values[0]
        return gradient

    def flush(self) -> None:
        """Wait until everything has been sent."""
        for channel in (self._features_out, self._answers_out):
            if channel:
                channel.flush()


class Extractor:
    """The first worker: `z = c(x)`, and the extractor's backward pass when the stages' gradient is back."""

    def __init__(self, cascade: SharedCascade, optimizer: Optimizer, ring: Ring, *, staleness: int, shares: int) -> None:
        self._cascade, self._optimizer, self._ring = cascade, optimizer, ring
        self._staleness, self._shares = staleness, shares
        self._waiting: deque[tuple[Tensor, dict[str, Tensor]]] = deque()  # z with its graph, and the weights that computed it

    def step(
        self, x: Inputs, target: Tensor, weight: Tensor | None, scale: float | Tensor, samples: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Send on `z`; apply the gradient of the batch that is `staleness` back."""
        extractor = self._cascade.extractor
        if self._staleness:
            weights = {name: each.detach().clone().requires_grad_() for name, each in extractor.named_parameters()}
            z = functional_call(extractor, weights, x if isinstance(x, tuple) else (x,))
        else:
            weights = dict(extractor.named_parameters())
            z = call(extractor, x)
        prior = self._cascade.prior(z.detach()).unsqueeze(0)
        losses = prior.new_zeros(0)
        self._ring.send_features(Handover((z.detach(),), prior, losses, self._ring.request))
        self._waiting.append((z, weights))
        if len(self._waiting) > self._staleness:
            self._apply_oldest()
        return losses, prior

    def log_beliefs(self, x: Inputs) -> Tensor:
        """Send on `z` and return the prior, `[1, B, C]`."""
        z = self._cascade.features(x)
        prior = self._cascade.prior(z).unsqueeze(0)
        self._ring.send_features(Handover((z,), prior))
        return prior

    def set_objective(self, objective: LocalObjective) -> None:
        """No stage is here that would minimise it."""

    def settle(self) -> None:
        """Apply every gradient that is still to come."""
        while self._waiting:
            self._apply_oldest()

    def _apply_oldest(self) -> None:
        z, weights = self._waiting.popleft()
        gradient = self._ring.receive_gradient()
        self._optimizer.zero_grad()
        z.backward(gradient / self._shares)  # type: ignore[no-untyped-call]
        for name, parameter in self._cascade.extractor.named_parameters():
            parameter.grad = weights[name].grad
        self._optimizer.step()
        self._optimizer.zero_grad()


class Group:
    """Any other worker: some stages, one after the other.

    Stages that learn from the same batch's beliefs wait for the answers of the groups before. With a memory they do not: all groups
    work on a batch at once, and only the sum of the gradients goes from one to the next.
    """

    def __init__(self, part: SharedCascade, sid: SID, ring: Ring) -> None:
        self._part, self._sid, self._ring = part, sid, ring

    def step(
        self, x: Inputs, target: Tensor, weight: Tensor | None, scale: float | Tensor, samples: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Train the stages, and add their `∂L_i/∂z` to the gradient so far."""
        features = self._ring.receive_features()
        (z,) = features.values
        z.requires_grad_()
        answers_so_far = cache(lambda: self._ring.receive_answers(features))
        memory = self._sid.memory
        log_belief = None if memory else answers_so_far().log_beliefs[-1]
        log_beliefs: list[Tensor] = []
        step = self._sid.new_step(
            z,
            target,
            weight=weight,
            scale=scale,
            samples=samples,
            log_belief=log_belief,
            on_belief=lambda stage, log_belief: log_beliefs.append(log_belief),
            on_trained=self._update,
        )
        out = local_pass(replace(step, combiner=_Continued(lambda: answers_so_far().values)))
        assert z.grad is not None
        before = answers_so_far()
        answers = before.followed_by((z.grad,), torch.stack(log_beliefs), out.stage_losses)
        if memory and samples is not None:
            memory.remember(samples, -1, before.log_beliefs[-1])
        self._ring.send_answers(answers)
        assert answers.stage_losses is not None
        return answers.stage_losses, answers.log_beliefs

    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the beliefs so far, `[i+1, B, C]`, and send them on."""
        features = self._ring.receive_features()
        before = self._ring.receive_answers(features)
        refined = self._part.log_beliefs(features.values[0], before.log_beliefs[-1])[1:]
        answers = before.followed_by((), refined, None)
        self._ring.send_answers(answers)
        return answers.log_beliefs

    def settle(self) -> None:
        """Nothing waits here."""

    def set_objective(self, objective: LocalObjective) -> None:
        """Train the stages by it from the next step on."""
        self._sid.objective = objective

    def _update(self, stage: int) -> None:
        if stage < self._part.depth:  # the last call is for the extractor, which is elsewhere
            self._sid.update_stage(stage)


class _Continued:
    """`Σ_i ∂L_i/∂z` in the order of the stages, begun by the groups before; their part is asked for at the end.

    Args:
        so_far: returns their sum, or nothing when there is no group before.
    """

    def __init__(self, so_far: Callable[[], tuple[Tensor, ...]]) -> None:
        self._so_far = so_far
        self._gradients: list[Tensor] = []

    def add(self, gradient: Tensor) -> None:
        """Keep a stage's gradient."""
        self._gradients.append(gradient)

    def result(self) -> Tensor:
        """Return the sum."""
        first, *rest = (*self._so_far(), *self._gradients)
        total = first.clone()
        for gradient in rest:
            total += gradient
        return total
