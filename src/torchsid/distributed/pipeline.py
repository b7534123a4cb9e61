"""SID on many workers: every worker trains its stages, and features and beliefs travel one way.

Worker k receives what its first stage reads, trains its stages on it as one process would (`core/step.py`), and sends
on what crosses the cut behind its last stage. Nothing ever comes back, so worker k is at batch t while worker k+1 is at batch
t−1 or before: no worker waits for a later one. Each stage meets the same batches with the same weights in the same order as in one
process, so the weights are the same to the bit.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.calling import Inputs, batch_size
from torchsid.core.cascade import do_nothing
from torchsid.core.learner import Learner, StepOutput
from torchsid.core.objective import Alpha, Direction, LocalObjective
from torchsid.core.staged import StagedCascade
from torchsid.core.step import local_pass
from torchsid.cut.graph import GraphPiece, GraphSegments
from torchsid.distributed.assign import assign
from torchsid.distributed.channel import Incoming, Outgoing
from torchsid.distributed.handover import Handover, Wire, crossing, decode, encode, largest, rows_of
from torchsid.distributed.part import take_part
from torchsid.distributed.replicas import Replicas
from torchsid.distributed.world import World
from torchsid.errors import CutError, ScheduleError
from torchsid.learners.sid import SID


class PipelinedSID(Learner):
    """The stages of one worker, as a learner: `step(x, target)` takes the place of `SID.step`.

    Every worker calls the same methods with the same batches; `x` is read on the first worker, the target on all. What a method
    returns is complete on the last worker; on the others it has the stages so far. Replicas split the batch and average their
    gradients.

    Args:
        cascade: the whole network, cut by its graph, the same on every worker. It keeps the tensors of this worker's stages alone.
        world: this worker's place.
        optimizer: makes the optimiser over the parameters that `cascade` then holds.
        seconds: what each stage costs, the same on every worker; by that the stages are shared out. By default their operations.
        batch_size: the most samples of a training batch.
        example: a small batch of inputs, to see what crosses the cuts.
        alpha, direction, label_smoothing, temperature: of the objective, as for `SID`.
        micro_batches: parts of a batch that pass one after the other; a stage is updated after the last. Less is kept, the pipe
            fills sooner, and BatchNorm sees one part at a time, as where one process accumulates gradients.
        wire: how features travel; `"bfloat16"` halves the traffic and rounds them, so that results differ from one process's.
        queue: the most messages under way between two workers.

    Raises:
        CutError: the cascade cannot be spread, or what crosses a cut cannot be sent.
        ConfigError: there are more workers than stages.
        ValueError: a setting is out of range.
    """

    optimizer: Optimizer

    def __init__(
        self,
        cascade: StagedCascade,
        world: World,
        *,
        optimizer: Callable[[nn.Module], Optimizer],
        batch_size: int,
        example: Inputs,
        seconds: Sequence[float] | None = None,
        alpha: Alpha = 0.5,
        direction: Direction = "forward",
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        micro_batches: int = 1,
        wire: Wire = "float32",
        queue: int = 2,
    ) -> None:
        if queue < 1:
            raise ScheduleError(f"queue={queue}: a worker needs 1 message or more under way")
        if micro_batches < 1:
            raise ScheduleError(f"micro_batches={micro_batches}: a batch has 1 part or more")
        if not isinstance(cascade.segments, GraphSegments):
            raise CutError("stages of a cascade cut by='boundary' cannot live on different workers: build it with by='graph'")
        self.assignment = assign(seconds or _work(cascade), world.positions)
        """The stages of every position on the `stage` axis, counted from 0."""
        own = self.assignment[world.position]
        self._objective = LocalObjective(alpha=alpha, direction=direction, label_smoothing=label_smoothing, temperature=temperature)
        objective = self._objective.of_stages(own, cascade.depth)
        values = crossing(cascade, [stages.stop for stages in self.assignment[:-1]], example)
        self.world, self.wire = world, wire
        self.module: nn.Module = cascade
        self._bind = cascade.segments.bind
        self._part = take_part(cascade, own)
        self.optimizer = optimizer(cascade)
        self._sid = SID(
            self._part,
            alpha=objective.alpha,
            direction=direction,
            label_smoothing=label_smoothing,
            temperature=temperature,
            optimizer=self.optimizer,
        )
        self._replicas = Replicas(world)
        self._micro_batches = micro_batches
        self._samples = -(-batch_size // (world.replicas * micro_batches))  # of the largest message
        self.request = 0
        """A number that the first worker sets before a step and every worker reads after it, of the same batch."""

        def capacity(position: int) -> int:
            depth = self.assignment[position].stop
            return largest(values[position], self._samples, depth, cascade.num_classes, wire=wire)

        self._incoming = None if world.is_first else Incoming(world, capacity=capacity(world.position - 1), queue=queue)
        self._outgoing = None if world.is_last else Outgoing(world, capacity=capacity(world.position), queue=queue)

    @property
    def objective(self) -> LocalObjective:
        """What all stages minimise; as `SID.objective` it may be exchanged between two steps, on every worker at the same one."""
        return self._objective

    @objective.setter
    def objective(self, objective: LocalObjective) -> None:
        depth = self.assignment[-1].stop
        self._sid.objective = objective.of_stages(self.assignment[self.world.position], depth)
        self._objective = objective

    @property
    def sent_bytes(self) -> int:
        """The bytes that this worker has sent on so far."""
        return self._outgoing.sent_bytes if self._outgoing else 0

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
        """Train this worker's stages on one batch; arguments, result and errors otherwise as `SID.step`.

        Raises:
            ValueError: `scale` is neither one number nor one a stage, or `weight` not one number a position.
            WorkerError: a neighbour hangs or has gone.
        """
        rows, share = self._replicas.split(len(target), weight)
        scales = self._own(scale) * share
        self.request = self._replicas.agree(self.request) if self.world.is_first else 0
        self.optimizer.zero_grad()
        parts = list(self._parts(rows))
        shares = [_share(part, rows, weight) for part in parts]
        done = [
            self._train(x, target, part, weight, scales * of_rows, at_once=len(parts) == 1)
            for part, of_rows in zip(parts, shares, strict=True)
        ]
        if len(parts) > 1:
            self._update_all()
        losses = torch.stack([loss * of_rows for (loss, _), of_rows in zip(done, shares, strict=True)]).sum(0)
        log_beliefs = torch.cat([log_beliefs for _, log_beliefs in done], dim=1)
        losses, log_beliefs = self._replicas.join(losses, log_beliefs, rows, share)
        for stage, log_belief in enumerate(log_beliefs[1:]):
            on_belief(stage, log_belief)
        return StepOutput(losses, log_beliefs[-1])

    def _train(
        self, x: Inputs, target: Tensor, rows: slice, weight: Tensor | None, scales: Tensor, *, at_once: bool
    ) -> tuple[Tensor, Tensor]:
        """Differentiate this worker's stages on some rows of the batch; update each at once if these are all.

        Returns:
            Losses and beliefs of the stages so far.
        """
        arrived = self._receive(x, rows, trains=True)
        self.request = arrived.request
        log_beliefs: list[Tensor] = []
        losses: list[Tensor] = []

        def note(stage: int, loss: Tensor) -> None:
            losses.append(loss)

        def hand_on(stage: int, log_belief: Tensor) -> None:
            log_beliefs.append(log_belief)
            if stage == self._part.depth - 1:  # before its backward pass, so that the next worker need not wait for it
                self._send(arrived, torch.stack(log_beliefs), torch.stack(losses))

        step = self._sid.new_step(
            arrived.values,
            target[rows],
            weight=None if weight is None else weight[rows],
            scale=scales,
            log_belief=arrived.log_beliefs[-1],
            on_loss=note,
            on_belief=hand_on,
            on_trained=self._update if at_once else do_nothing,
        )
        local_pass(step)
        done = arrived.followed_by((), torch.stack(log_beliefs), torch.stack(losses))
        assert done.stage_losses is not None
        return done.stage_losses, done.log_beliefs

    def _parts(self, rows: slice) -> Iterator[slice]:
        """Yield the micro-batches of this replica's rows."""
        bounds = [rows.start + (rows.stop - rows.start) * part // self._micro_batches for part in range(self._micro_batches + 1)]
        yield from (slice(start, stop) for start, stop in pairwise(bounds) if stop > start)

    @torch.no_grad()
    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the belief after every stage, `[L+1, B, C]`, on the last worker; on others up to their own stages.

        Raises:
            WorkerError: a neighbour hangs or has gone.
        """
        count = batch_size(x)
        limit = self._samples * self.world.replicas
        parts = [self._beliefs(rows_of(x, slice(start, start + limit))) for start in range(0, count, limit)]
        return torch.cat(parts, dim=1)

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
        """Refused: the stages of a pipeline are updated one by one.

        Raises:
            ScheduleError: always.
        """
        raise ScheduleError("a pipeline updates every stage at once: call step, which takes the optimiser's step as well")

    def settle(self) -> None:
        """Nothing waits for an answer here; a shared cascade's extractor does."""

    def flush(self) -> None:
        """Wait until everything has been sent; call it before the connections are closed.

        Raises:
            WorkerError: a neighbour hangs or has gone.
        """
        if self._outgoing:
            self._outgoing.flush()

    def _own(self, scale: float | Tensor) -> Tensor:
        """Return the scale of each of this worker's losses."""
        scales, depth = torch.as_tensor(scale, dtype=torch.float64), self.assignment[-1].stop
        if scales.shape not in ((), (1,), (depth,)):
            raise ValueError(f"scale has shape {list(scales.shape)}: give one number, or one a stage, [{depth}]")
        stages = self.assignment[self.world.position]
        return scales.expand(depth)[stages.start : stages.stop]

    def _beliefs(self, x: Inputs) -> Tensor:
        rows, share = self._replicas.split(batch_size(x))
        self._replicas.share_buffers(self.module)
        arrived = self._receive(x, rows, trains=False)
        log_beliefs = self._part.log_beliefs(arrived.values, arrived.log_beliefs[-1])[1:]
        self._send(arrived, log_beliefs, None)
        done = arrived.followed_by((), log_beliefs, None)
        return self._replicas.join(log_beliefs.new_zeros(0), done.log_beliefs, rows, share)[1]

    def _receive(self, x: Inputs, rows: slice, *, trains: bool) -> Handover:
        if self._incoming is not None:
            return decode(self._incoming.receive(), self.world.device)
        self._replicas.vary_randomness()
        prior = self._part.prior(torch.empty(rows.stop - rows.start, device=self.world.device)).unsqueeze(0)
        return Handover(self._bind(rows_of(x, rows)), prior, prior.new_zeros(0) if trains else None, self.request)

    def _send(self, arrived: Handover, log_beliefs: Tensor, stage_losses: Tensor | None) -> None:
        """Send on what the next worker needs."""
        piece = self._part.segments
        assert isinstance(piece, GraphPiece)
        if self._outgoing:
            leaving = arrived.followed_by(piece.handed_on, log_beliefs, stage_losses)
            self._outgoing.send(*encode(leaving, self.wire, self.world.device))
        piece.handed_on = ()

    def _update_all(self) -> None:
        self._replicas.average(self._part.parameters())
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _update(self, stage: int) -> None:
        self._replicas.average(parameter for _, parameter in self._part.named_stage_parameters(stage))
        self._sid.update_stage(stage)


def _work(cascade: StagedCascade) -> list[float]:
    """Return the operations of each stage with its head."""
    assert cascade.plan is not None
    return [float(stage.operations + stage.head_operations) for stage in cascade.plan.stages]


def _share(part: slice, rows: slice, weight: Tensor | None) -> float:
    """Return the part of a replica's rows in what they count."""
    counted, total = (float(each.stop - each.start) if weight is None else float(weight[each].sum()) for each in (part, rows))
    return counted / total if total else 0.0
