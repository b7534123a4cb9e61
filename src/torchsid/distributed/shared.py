"""SID's shared cascade on many workers: the extractor on the first, groups of stages on the others.

Features pass from worker to worker at once. Beliefs follow from group to group, with the sum of `∂L_i/∂z` so far; each group adds
its own in the order of the stages, and the last group sends the sum back to the extractor:

    extractor ── z ──▶ stages 1 … a ── z ──▶ stages a+1 … b ── z ──▶ … last group
                                    ── p_a, Σ∂L/∂z ──▶            ──▶      │
        ▲─────────────────────────── Σ_i ∂L_i/∂z ──────────────────────────┘

With staleness k = 0 the extractor waits for that gradient before the next batch: exact, the same to the bit as one process. With
k > 0 it runs ahead by k batches: `z` of batch t is computed by weights that have seen the gradients up to batch t−k−1, and all
workers work at once. A gradient is taken at the weights that computed `z`, hence k+1 copies of the extractor's (weight stashing,
PipeDream, arXiv 1806.03377).
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.calling import Inputs, batch_size
from torchsid.core.cascade import do_nothing
from torchsid.core.learner import Learner, StepOutput
from torchsid.core.objective import Alpha, Direction, LocalObjective
from torchsid.core.shared import SharedCascade, Stage
from torchsid.core.side_effects import without_side_effects
from torchsid.distributed.assign import assign
from torchsid.distributed.handover import Wire, largest, one_more, rows_of, stretchable
from torchsid.distributed.part import drop_others
from torchsid.distributed.shared_roles import Extractor, Group, Ring
from torchsid.distributed.world import World
from torchsid.errors import ConfigError, ScheduleError
from torchsid.learners.belief_memory import BeliefMemory
from torchsid.learners.sid import SID


class SharedPipelinedSID(Learner):
    """The extractor or some stages of a shared cascade, as a learner; used like `PipelinedSID`.

    Args:
        cascade: the whole network, the same on every worker. It keeps the tensors of this worker alone.
        world: this worker's place; two positions or more, one replica.
        optimizer: makes the optimiser over the parameters that `cascade` then holds.
        batch_size: the most samples of a training batch.
        example: a small batch of inputs, to see the features.
        staleness: k, the batches that the extractor runs ahead; 0 is exact.
        alpha, direction, label_smoothing, temperature, combine: as for `SID`; `"pcgrad"` needs all gradients at once, and is
            refused.
        remembers: the number of training samples, of which every stage's beliefs are kept to teach one epoch later: all groups then
            work on a batch at once (`BeliefMemory`). With 0 stages learn from the same batch.
        wire, queue: as for `PipelinedSID`.

    Raises:
        ConfigError: there are more groups than stages, or the settings do not go with many workers.
        ScheduleError: a stage hands on features of its own.
    """

    def __init__(
        self,
        cascade: SharedCascade,
        world: World,
        *,
        optimizer: Callable[[nn.Module], Optimizer],
        batch_size: int,
        example: Inputs,
        staleness: int = 0,
        alpha: Alpha = 0.5,
        direction: Direction = "forward",
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        combine: str = "sum",
        remembers: int = 0,
        wire: Wire = "float32",
        queue: int = 2,
    ) -> None:
        _check(world, staleness=staleness, combine=combine, queue=queue)
        features = _features(cascade, example)
        self.assignment = [range(0), *assign([1.0] * cascade.depth, world.positions - 1)]
        """The stages of every position on the `stage` axis, counted from 0; the first has the extractor."""
        own = self.assignment[world.position]
        self.world, self.module = world, cascade

        def size(depth: int) -> int:
            return largest((features,), batch_size, depth, cascade.num_classes, wire=wire)

        def answers(position: int) -> int:
            return size(self.assignment[position].stop)

        ring = Ring(world, size(0), answers, wire=wire, queue=queue, staleness=staleness)
        self._ring, self._samples = ring, batch_size
        stages = [cast(Stage, stage) for stage in cascade.stages[own.start : own.stop]]
        drop_others(cascade, (cascade.extractor,) if world.is_first else stages)
        self.memory = BeliefMemory(remembers, len(own), cascade.log_prior, first=own.start) if remembers and own else None
        """Of this worker's stages."""
        self.remembers_samples = remembers > 0
        self.optimizer = optimizer(cascade)
        self._objective = LocalObjective(alpha=alpha, direction=direction, label_smoothing=label_smoothing, temperature=temperature)
        if world.is_first:
            shares = cascade.depth if combine == "mean" else 1
            self._worker: Extractor | Group = Extractor(cascade, self.optimizer, ring, staleness=staleness, shares=shares)
        else:
            part = SharedCascade(nn.Identity(), stages, cascade.num_classes, log_prior=cascade.log_prior)
            sid = SID(
                part,
                alpha=self._objective.of_stages(own, cascade.depth).alpha,
                direction=direction,
                label_smoothing=label_smoothing,
                temperature=temperature,
                optimizer=self.optimizer,
                teachers="last-epoch" if remembers else "same-batch",
            )
            sid.memory = self.memory
            self._worker = Group(part, sid, ring)

    @property
    def objective(self) -> LocalObjective:
        """As of `PipelinedSID`."""
        return self._objective

    @objective.setter
    def objective(self, objective: LocalObjective) -> None:
        self._worker.set_objective(objective.of_stages(self.assignment[self.world.position], self.assignment[-1].stop))
        self._objective = objective

    def state(self) -> dict[str, Tensor]:
        """Return the remembered beliefs of this worker's stages."""
        return self.memory.tensors() if self.memory else {}

    @property
    def request(self) -> int:
        """As of `PipelinedSID`."""
        return self._ring.request

    @request.setter
    def request(self, number: int) -> None:
        if self.world.is_first:
            self._ring.request = number

    @property
    def sent_bytes(self) -> int:
        """The bytes that this worker has sent so far."""
        return self._ring.sent_bytes

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
        """Train this worker's part on one batch; see `PipelinedSID.step`.

        Raises:
            WorkerError: another worker hangs or has gone.
        """
        losses, log_beliefs = self._worker.step(x, target, weight, scale, samples)
        for stage, log_belief in enumerate(log_beliefs[1:]):
            on_belief(stage, log_belief)
        return StepOutput(losses, log_beliefs[-1])

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
        """Refused, as by `PipelinedSID`.

        Raises:
            ScheduleError: always.
        """
        raise ScheduleError("a pipeline updates every stage at once: call step, which takes the optimiser's step as well")

    @torch.no_grad()
    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the belief after every stage, `[L+1, B, C]`, on the last worker; on others up to their own stages.

        Raises:
            WorkerError: another worker hangs or has gone.
        """
        self.settle()
        starts = range(0, batch_size(x), self._samples)
        return torch.cat([self._worker.log_beliefs(rows_of(x, slice(start, start + self._samples))) for start in starts], dim=1)

    def settle(self) -> None:
        """Apply the gradients that the extractor still waits for: before an evaluation and before a checkpoint.

        Raises:
            WorkerError: another worker hangs or has gone.
        """
        self._worker.settle()

    def flush(self) -> None:
        """Settle, and wait until everything has been sent; see `PipelinedSID.flush`."""
        self.settle()
        self._ring.flush()


def _check(world: World, *, staleness: int, combine: str, queue: int) -> None:
    problems = []
    if world.positions < 2:
        problems.append(f"{world.positions} worker: a shared cascade is spread over 2 or more, the first has the extractor")
    if world.replicas > 1:
        problems.append(f"replicas={world.replicas}: a shared cascade has one replica of each stage, set it to 1")
    if combine not in ("sum", "mean"):
        problems.append(f"combine={combine!r} needs the gradients of all stages in one place: use 'sum' or 'mean'")
    if staleness < 0:
        problems.append(f"staleness={staleness}: give 0 (exact) or the number of batches that the extractor may run ahead")
    if queue < 1:
        problems.append(f"queue={queue}: a worker needs 1 message or more under way")
    if problems:
        raise ConfigError(problems, source="distributed job")


def _features(cascade: SharedCascade, example: Inputs) -> object:
    """Return what is known of the features that the stages read."""
    with without_side_effects(cascade), torch.no_grad():
        z = cascade.eval().features(example)
        for i, stage in enumerate(cascade.stages, 1):
            if stage(z, cascade.prior(z))[0] is not z:
                raise ScheduleError(
                    f"stage {i} hands on features of its own: only stages that read the extractor's features can be spread; "
                    "cut the network by staged_cascade instead"
                )
        more = cascade.features(one_more(example))
    return stretchable(z, more, batch_size(example))
