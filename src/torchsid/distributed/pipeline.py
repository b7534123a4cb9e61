"""SID on many workers: every worker trains its stages, and features and beliefs travel one way.

Worker k receives what its first stage reads, trains its stages on it as one process would (`core/step.py`), and sends
on what the next worker needs. Between stages nothing comes back that a batch would wait for, so worker k is at batch t while
worker k+1 is at batch t−1 or before: no worker waits for a later one. Each stage meets the same batches with the same weights in
the same order as in one process, so the weights are the same to the bit. A shared cascade's extractor alone has an answer to wait
for (`places.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.beliefs import to_log_belief
from torchsid.core.calling import Inputs
from torchsid.core.cascade import Cascade, do_nothing
from torchsid.core.lazy_logits import LazyLogits
from torchsid.core.learner import Learner, StepOutput
from torchsid.core.objective import LocalObjective
from torchsid.core.shared import SharedCascade
from torchsid.core.staged import Plan, StagedCascade
from torchsid.core.step import Step, local_pass
from torchsid.core.weighting import counted
from torchsid.distributed.assign import assign, problems
from torchsid.distributed.channel import Handover, Wire
from torchsid.distributed.places import Continued, Extractor, Group, Layout, Piece, Place
from torchsid.distributed.replicas import Replicas, shares
from torchsid.distributed.world import World
from torchsid.errors import ConfigError, ScheduleError
from torchsid.learners.sid import SID
from torchsid.settings import Count, CountOrZero, checked


class PipelinedSID(Learner):
    """One worker's part of SID, as a learner: `step(x, target)` takes the place of `SID.step`.

    Every worker calls the same methods with the same batches; `x` is read on the first worker, the target on all. What a method
    returns is complete on the last worker; on the others it has the stages so far. Replicas split the batch and average their
    gradients. A shared cascade has its extractor on the first worker, and one replica of each stage.

    Args:
        learner: SID on the whole network, the same on every worker, with its memory if it has one. Of the network it is left what
            this worker has.
        world: this worker's place.
        optimizer: makes the optimiser over the parameters that the network then holds.
        batch_size: the most samples of a training batch.
        example: a small batch of inputs, to see what crosses from worker to worker.
        seconds: what each stage costs, the same on every worker; by that the stages are shared out. By default the operations of a
            staged cascade's stages; those of a shared one are alike.
        micro_batches: parts of a batch that pass one after the other; a stage is updated after the last. Less is kept, the pipe
            fills sooner, and BatchNorm sees one part at a time, as where one process accumulates gradients.
        wire: how features travel; `"bfloat16"` halves the traffic and rounds them, so that results differ from one process's.
        queue: the most messages under way between two workers.
        staleness: the batches that a shared cascade's extractor runs ahead of the gradient it waits for; 0 is exact.

    Raises:
        ConfigError: the method cannot train this network on so many workers.
        CutError: a staged cascade has no modules as stages, or what crosses a cut cannot be sent.
        ScheduleError: a stage of a shared cascade hands on features of its own.
        ValueError: a setting is out of range.
    """

    objective: LocalObjective
    optimizer: Optimizer

    @checked
    def __init__(
        self,
        learner: SID,
        world: World,
        *,
        optimizer: Callable[[nn.Module], Optimizer],
        batch_size: int,
        example: Inputs,
        seconds: Sequence[float] | None = None,
        micro_batches: Count = 1,
        wire: Wire = "float32",
        queue: Count = 2,
        staleness: CountOrZero = 0,
    ) -> None:
        cascade, shared = learner.module, isinstance(learner.module, SharedCascade)
        settings = {"replicas": world.replicas, "micro_batches": micro_batches, "staleness": staleness}
        if found := list(problems(learner, type(cascade), cascade.depth, world.positions, **settings)):
            raise ConfigError(found, source="distributed job")
        self.assignment = assign(seconds or _operations(cascade), world.positions - shared)
        """The stages of every position on the `stage` axis, counted from 0; none where the extractor is."""
        if shared:
            self.assignment = [range(0), *self.assignment]
        self.world, self.module, self.remembers_samples = world, cascade, learner.remembers_samples
        self.objective = learner.objective
        """What all stages minimise; as `SID.objective` it may be exchanged between two steps, on every worker at the same one."""
        self.request = 0
        """A number that the first worker sets before a step and every worker reads after it, of the same batch."""
        self._whole, self._replicas, self._micro_batches = learner, Replicas(world), micro_batches
        self._samples = -(-batch_size // (world.replicas * micro_batches))  # of the largest message
        if cascade.rows is None:
            raise ConfigError(
                ["which axis of the inputs counts the samples cannot be told, so that no batch can be divided"],
                source="distributed job",
            )
        self._rows = cascade.rows
        batch = self._rows.take(example, torch.arange(self._samples) % self._rows.count(example))
        under_way = max(queue, staleness + 1)
        lazy = isinstance(cascade, StagedCascade) and learner.logits_can_wait and cascade.shares_readout
        if learner.candidates and not lazy:
            fault = f"learner.candidates = {learner.candidates}: between workers the heads must share the readout, or set it to 0"
            raise ConfigError([fault], source="distributed job")
        layout = Layout(
            world=world,
            assignment=self.assignment,
            batch=batch,
            queue=under_way,
            wire=wire,
            lazy=lazy,
            compact=learner.candidates > 0,
        )
        self._own = layout.own
        if isinstance(cascade, StagedCascade):
            self._place: Place = Piece(cascade, layout)
        elif isinstance(cascade, SharedCascade) and world.is_first:
            divisor = cascade.depth if learner.combine == "mean" else 1
            self._place = Extractor(cascade, layout, staleness=staleness, divisor=divisor, update=self._update_all)
        elif isinstance(cascade, SharedCascade):
            self._place = Group(cascade, layout)
        self.optimizer = optimizer(cascade)
        self._sid = learner.of_part(self._place.cascade, self._own, self.optimizer)

    @property
    def sent_bytes(self) -> int:
        """The bytes that this worker has sent so far."""
        return sum(channel.sent_bytes for channel in self._place.outgoing)

    def begin_epoch(self, epoch: int) -> None:
        """Set the objective of an epoch, where α moves over them."""
        self._whole.objective = self.objective
        self._whole.begin_epoch(epoch)
        self.objective = self._whole.objective

    def state(self) -> dict[str, Tensor]:
        """Return the remembered beliefs of this worker's stages."""
        return self._sid.state()

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
        """Train this worker's part on one batch; arguments, result and errors otherwise as `SID.step`.

        Raises:
            ValueError: `scale` is neither one number nor one a stage, or `weight` not one number a position; or beliefs are so many
                numbers that they travel as hidden states, and `on_belief` or probability rows ask for all.
            WorkerError: another worker hangs or has gone.
        """
        lazy = self._place.lazy
        if lazy and (on_belief is not do_nothing or target.is_floating_point()):
            why = f"beliefs over {self._whole.module.num_classes} outcomes travel between workers as hidden states"
            raise ValueError(f"{why}: leave on_belief out, StepOutput.answers has the answers, and give targets as classes")
        depth, scales = self.assignment[-1].stop, torch.as_tensor(scale, dtype=torch.float64)
        if scales.shape not in ((), (1,), (depth,)):
            raise ValueError(f"scale has shape {list(scales.shape)}: give one number, or one a stage, [{depth}]")
        if self.world.is_first:
            self.request = self._replicas.agree(self.request)
            self._replicas.vary_randomness()
        weight = counted(target, weight)
        rows, share = self._replicas.split(len(target), weight)
        parts = [(part, of_rows) for part, of_rows in shares(rows, self._micro_batches, weight) if part.stop > part.start]
        scales = scales.expand(depth)[self._own.start : self._own.stop] * share
        self._sid.objective = self.objective.of_stages(self._own, depth)
        self.optimizer.zero_grad()
        self._place.begin_step()

        def train(part: slice, of_rows: float) -> Handover:
            weights, places = (None if each is None else each[part] for each in (weight, samples))
            given: dict[str, Any] = {"weight": weights, "scale": scales * of_rows, "samples": places, "lazy": lazy}

            def new_step(values: Inputs, on_belief: Callable[[int, Any], None]) -> Step:
                step = self._sid.new_step(values, target[part], **given, on_belief=on_belief)
                return replace(step, on_trained=self._update if len(parts) == 1 else do_nothing)

            found = self._pass(self._rows.take(x, part), new_step)
            if self._sid.memory and places is not None:
                self._sid.memory.remember(places, -1, found.log_beliefs[-1 - len(self._own)])
            return found

        found = [train(*part) for part in parts]
        self.request = found[-1].request
        if len(parts) > 1:
            self._update_all()
        losses = torch.stack([each.stage_losses * of_rows for each, (_, of_rows) in zip(found, parts, strict=True)]).sum(0)
        losses = self._replicas.mean(losses, share)
        if lazy:
            answers = self._replicas.join(torch.cat([each.answers for each in found], dim=1), len(target))
            return StepOutput(losses, self._newest, answers.long())
        log_beliefs = self._replicas.join(torch.cat([each.log_beliefs for each in found], dim=1), len(target))
        for stage, log_belief in enumerate(log_beliefs[1:]):
            on_belief(stage, log_belief)
        return StepOutput(losses, log_beliefs[-1], log_beliefs[1:].argmax(-1))

    def _pass(self, x: Inputs, new_step: Callable[..., Step] | None = None) -> Handover:
        """Receive a batch, run the stages here on it, and send on what they find out.

        Args:
            x: the batch; read on the first worker.
            new_step: makes the step by which they are trained; without one they answer.

        Returns:
            Beliefs and losses of the stages so far.
        """
        place, nothing, last = self._place, torch.empty(0), len(self._own) - 1
        arrived = place.receive(x, Handover((), nothing, nothing, trains=new_step is not None, request=self.request))
        before = cache(lambda: place.before(arrived))
        begins, remembers = not len(arrived.log_beliefs), new_step and self._sid.memory
        first: Tensor | LazyLogits | None = None if begins or remembers else before().log_beliefs[-1]
        if place.lazy and isinstance(first, Tensor):
            first = place.belief(first)
        log_beliefs: list[Tensor] = []  # or hidden states
        losses: list[Tensor] = []
        answers: list[Tensor] = []

        @cache
        def found() -> Handover:
            if not (place.lazy and new_step):
                return before().followed_by(log_beliefs, losses)
            asked = log_beliefs[-1:] if self._teaches() else []
            return replace(before(), log_beliefs=nothing).followed_by(asked, losses, answers)

        def learn(stage: int, loss: Tensor, said: Tensor) -> None:
            losses.append(loss)
            answers.append(said)

        def believe(stage: int, belief: Tensor | LazyLogits) -> None:
            log_belief = belief.hidden if isinstance(belief, LazyLogits) else belief
            if stage == 0 and begins and not place.lazy:
                log_beliefs.append(to_log_belief(place.cascade.log_prior).expand_as(log_belief))
            if stage >= 0:
                log_beliefs.append(log_belief)
            if place.sends_before_backward and stage == last:
                place.send(arrived, found())

        if new_step and self._own:
            step, so_far = new_step(arrived.values, believe), Continued(lambda: before().values)
            self._newest = local_pass(replace(step, belief=first, combiner=so_far, on_loss=learn)).belief
        elif self._own and place.lazy:
            assert isinstance(place.cascade, StagedCascade)
            assert not isinstance(first, Tensor)
            for stage, belief in enumerate(place.cascade.lazy_log_beliefs(arrived.values, first)[1:]):
                believe(stage, belief)
        elif self._own:
            assert not isinstance(first, LazyLogits)
            place.cascade.refine(arrived.values, first, on_belief=believe)
        if not place.sends_before_backward:
            place.send(arrived, found())
        return found()

    def backward(self, *batch: Any, **settings: Any) -> NoReturn:
        """Refused: the stages of a pipeline are updated one by one.

        Raises:
            ScheduleError: always.
        """
        raise ScheduleError("a pipeline updates every stage at once: call step, which takes the optimiser's step as well")

    def _teaches(self) -> bool:
        """Return whether the next worker learns from the last belief here, or adds to it."""
        alphas, behind = self.objective.alphas(self.assignment[-1].stop), self._own.stop
        whole = self._whole.module
        assert isinstance(whole, StagedCascade)
        return behind < len(alphas) and (alphas[behind] < 1 or getattr(whole.heads[behind], "residual", False))

    @torch.no_grad()
    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the belief after every stage, `[L+1, B, ..., C]`, on the last worker; on others up to their own stages.

        Raises:
            WorkerError: another worker hangs or has gone.
        """
        if self._place.lazy:
            return torch.stack([each.log_belief() for each in self.lazy_log_beliefs(x)])
        return self._answers(x)

    @property
    def beliefs_can_wait(self) -> bool:
        """Whether `lazy_log_beliefs` can be called."""
        return self._place.lazy

    @torch.no_grad()
    def lazy_log_beliefs(self, x: Inputs) -> list[LazyLogits]:
        """Do as `log_beliefs`, one belief after the other, not computed yet."""
        hidden, cascade = self._answers(x), self._place.cascade
        found = [LazyLogits.constant(to_log_belief(cascade.log_prior), hidden.shape[1:-1])]
        found += [self._place.belief(each) for each in hidden]
        if self.world.is_last:
            layer: Any = self._whole.module.get_submodule(f"model.{cascade.own_readout}")
            found[-1] = LazyLogits(hidden[-1], layer.weight, layer.bias)
        return found

    def _answers(self, x: Inputs) -> Tensor:
        """Return what handovers have of the beliefs after every stage, `[k, B, ..., C or D]`."""
        self.settle()
        self._replicas.share_buffers(self.module)
        found = []
        for size, rows, _ in self._parts(self._rows.count(x)):
            found.append(self._replicas.join(self._pass(self._rows.take(x, rows)).log_beliefs, size))
        return torch.cat(found, dim=1)

    def own_rows(self, count: int) -> list[slice]:
        """Return the rows of a batch that this worker reads: its replica's on the first one, none on the others."""
        return [rows for _, rows, _ in self._parts(count)] if self.world.is_first else []

    def _parts(self, count: int) -> Iterator[tuple[int, slice, float]]:
        """Yield in which parts a batch passes: the size of each, this replica's rows of the batch, and their share."""
        limit = self._samples * self.world.replicas
        for start in range(0, count, limit):
            size = min(limit, count - start)
            rows, share = self._replicas.split(size)
            yield size, slice(start + rows.start, start + rows.stop), share

    def settle(self) -> None:
        """Take what is still to come back, an extractor's gradients or a shared readout: before an evaluation or a checkpoint.

        Raises:
            WorkerError: another worker hangs or has gone.
        """
        self._place.settle()

    def flush(self) -> None:
        """Settle, and wait until everything has been sent; call it before the connections are closed.

        Raises:
            WorkerError: another worker hangs or has gone.
        """
        self.settle()
        for channel in self._place.outgoing:
            channel.flush()

    def _update(self, stage: int) -> None:
        if stage < len(self._own):  # the last call is for a shared extractor, which is elsewhere
            self._replicas.average(parameter for _, parameter in self._sid.module.named_stage_parameters(stage))
            self._sid.update_stage(stage)

    def _update_all(self) -> None:
        self._replicas.average(self.module.parameters())
        self.optimizer.step()
        self.optimizer.zero_grad()


def _operations(cascade: Cascade) -> list[float]:
    """Return the operations of each stage with its head; the stages of a shared cascade are alike."""
    plan: Plan | None = getattr(cascade, "plan", None)
    return [float(stage.operations + stage.head_operations) for stage in plan.stages] if plan else [1.0] * cascade.depth
