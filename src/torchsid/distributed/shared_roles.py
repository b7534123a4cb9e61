"""What each worker of a shared cascade does: the first has the extractor, the others have groups of stages; see `shared.py`."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call
from torch.optim import Optimizer

from torchsid.calling import Inputs, call
from torchsid.cascade import Cascade
from torchsid.distributed.channel import Incoming, Outgoing
from torchsid.distributed.handover import Handover, Wire, decode, encode
from torchsid.distributed.world import World
from torchsid.learners.sid import SID
from torchsid.schedules.local_pass import local_pass
from torchsid.schedules.step import StepOutput


class Ring:
    """The channels of one worker: onwards along the stages, and from the last group back to the extractor."""

    def __init__(self, world: World, size_behind: Callable[[int], int], *, wire: Wire, queue: int, staleness: int) -> None:
        position, last = world.position, world.positions - 1
        self.request = 0
        self._wire, self._device = wire, world.device
        back, ahead = {"capacity": size_behind(last), "queue": staleness + 1}, max(queue, staleness + 1)
        self._onwards = None if world.is_last else Outgoing(world, capacity=size_behind(position), queue=ahead)
        self._arriving = None if world.is_first else Incoming(world, capacity=size_behind(position - 1), queue=ahead)
        self._back = Outgoing(world, **back, step=-last) if world.is_last else None
        self._gradients = Incoming(world, **back, step=-last) if world.is_first else None

    @property
    def sent_bytes(self) -> int:
        """The bytes that this worker has sent so far."""
        return sum(channel.sent_bytes for channel in (self._onwards, self._back) if channel)

    def receive(self) -> Handover:
        """Return what the worker before handed on."""
        assert self._arriving is not None
        arrived = decode(self._arriving.receive(), self._device)
        self.request = arrived.request
        return arrived

    def hand_on(self, values: tuple[Tensor, ...], log_beliefs: Tensor, stage_losses: Tensor | None) -> None:
        """Send on features, with the gradient so far in training; the last group sends that gradient back."""
        if self._onwards:
            handover = Handover(values, log_beliefs, stage_losses, self.request)
            self._onwards.send(*encode(handover, self._wire, self._device))
        elif self._back and stage_losses is not None:
            self._back.send(*encode(Handover(values[1:], log_beliefs), self._wire, self._device))

    def gradient(self) -> Tensor:
        """Return `Σ_i ∂L_i/∂z` of the oldest batch for which the extractor has none yet."""
        assert self._gradients is not None
        gradient: Tensor = decode(self._gradients.receive(), self._device).values[0]
        return gradient

    def flush(self) -> None:
        """Wait until everything has been sent."""
        for channel in (self._onwards, self._back):
            if channel:
                channel.flush()


class Extractor:
    """The first worker: `z = c(x)`, and the extractor's backward pass when the stages' gradient is back."""

    def __init__(self, cascade: Cascade, optimizer: Optimizer, ring: Ring, *, staleness: int, scale: float) -> None:
        self._cascade, self._optimizer, self._ring = cascade, optimizer, ring
        self._staleness, self._scale = staleness, scale
        self._waiting: deque[tuple[Tensor, dict[str, Tensor]]] = deque()  # z with its graph, and the weights that computed it

    def step(self, x: Inputs, target: Tensor, weight: float | Tensor) -> StepOutput:
        """Send on `z`; apply the gradient of the batch that is `staleness` back."""
        extractor = self._cascade.extractor
        if self._staleness:
            weights = {name: each.detach().clone().requires_grad_() for name, each in extractor.named_parameters()}
            z = functional_call(extractor, weights, x if isinstance(x, tuple) else (x,))
        else:
            weights = dict(extractor.named_parameters())
            z = call(extractor, x)
        out = StepOutput(z.new_zeros(0), self._cascade.prior(z.detach()).unsqueeze(0))
        self._ring.hand_on((z.detach(),), out.log_beliefs, out.stage_losses)
        self._waiting.append((z, weights))
        if len(self._waiting) > self._staleness:
            self._apply_oldest()
        return out

    def log_beliefs(self, x: Inputs) -> Tensor:
        """Send on `z` and return the prior, `[1, B, C]`."""
        z = self._cascade.features(x)
        log_beliefs = self._cascade.prior(z).unsqueeze(0)
        self._ring.hand_on((z,), log_beliefs, None)
        return log_beliefs

    def settle(self) -> None:
        """Apply every gradient that is still to come."""
        while self._waiting:
            self._apply_oldest()

    def _apply_oldest(self) -> None:
        z, weights = self._waiting.popleft()
        gradient = self._ring.gradient()
        self._optimizer.zero_grad()
        z.backward(gradient * self._scale if self._scale != 1 else gradient)  # type: ignore[no-untyped-call]
        for name, parameter in self._cascade.extractor.named_parameters():
            parameter.grad = weights[name].grad
        self._optimizer.step()
        self._optimizer.zero_grad()


class Group:
    """Any other worker: some stages, one after the other."""

    def __init__(self, part: Cascade, sid: SID, ring: Ring) -> None:
        self._part, self._sid, self._ring = part, sid, ring

    def step(self, x: Inputs, target: Tensor, weight: float | Tensor) -> StepOutput:
        """Train the stages, and add their `∂L_i/∂z` to the gradient that came along."""
        arrived = self._ring.receive()
        z, *gradient_so_far = arrived.values
        z.requires_grad_()
        step = self._sid.prepare(z, target, weight=weight, log_belief=arrived.log_belief, on_trained=self._update)
        for gradient in gradient_so_far:
            step.combiner.add(gradient)
        out = local_pass(step, z)
        assert arrived.log_beliefs is not None
        assert arrived.stage_losses is not None
        assert z.grad is not None
        log_beliefs = torch.cat([arrived.log_beliefs, out.log_beliefs[1:]])
        stage_losses = torch.cat([arrived.stage_losses, out.stage_losses])
        self._ring.hand_on((z.detach(), z.grad), log_beliefs, stage_losses)
        return StepOutput(stage_losses, log_beliefs)

    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the beliefs so far, `[i+1, B, C]`, and send them on."""
        arrived = self._ring.receive()
        assert arrived.log_beliefs is not None
        z = arrived.values[0]
        log_beliefs = torch.cat([arrived.log_beliefs, self._part.refine(z, arrived.log_belief)[1][1:]])
        self._ring.hand_on((z,), log_beliefs, None)
        return log_beliefs

    def settle(self) -> None:
        """Nothing waits here."""

    def _update(self, stage: int) -> None:
        if stage < self._part.depth:  # the last call is for the extractor, which is elsewhere
            self._sid.update(stage)
