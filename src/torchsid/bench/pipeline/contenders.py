"""Who is compared on several workers, and the part of each on every worker.

The rivals are the pipelines of `torch.distributed.pipelining`: backpropagation, with a batch cut into micro-batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, fx, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage, schedules
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from torchsid.bench.comparisons import PipelineSettings
from torchsid.bench.recorder import BACKWARD, FORWARD, HEAD, Recorder, sid_seconds
from torchsid.bench.trainable import Trainable, new_optimizer
from torchsid.bench.trainable import build as build_alone
from torchsid.bench.workload import BACKPROP, SID, Procedure, Workload
from torchsid.core.staged import StagedCascade
from torchsid.cut.graph import GraphSegments
from torchsid.distributed.assign import assign
from torchsid.distributed.pipeline import PipelinedSID
from torchsid.distributed.world import World
from torchsid.learners import sid

GPIPE: Final = "gpipe"
ONE_F_ONE_B: Final = "1f1b"
ZERO_BUBBLE: Final = "zero bubble"
ZERO_BUBBLE_V: Final = "zero bubble v"

RIVALS: Final[Mapping[str, Any]] = {
    GPIPE: schedules.ScheduleGPipe,
    ONE_F_ONE_B: schedules.Schedule1F1B,
    ZERO_BUBBLE: schedules.ScheduleInterleavedZeroBubble,  # with one piece a worker: ZB1P
    ZERO_BUBBLE_V: schedules.ScheduleZBVZeroBubble,  # with two
}
"""Backpropagation's pipelines."""

SID_ALONE: Final = "sid, one worker"
BACKPROP_ALONE: Final = "backprop, one worker"
SID_PIPELINE: Final = "sid pipeline"
DATA_PARALLEL: Final = "data parallel"

_REPEATS = 5  # of a measurement, after one that warms up


Seconds = Mapping[str, Sequence[float]]  # what each stage takes, with its belief head (`sid`) and without (`backprop`)


def pipeline_contenders(micro_batches: Sequence[int], *, workers: int, stages: int) -> tuple[list[Procedure], list[str]]:
    """Return who is compared, those on one worker first, and why some are left out.

    All try these numbers of micro-batches; one worker and SID need none, and try that too.
    """
    numbers = sorted({1, *micro_batches})
    found = [Procedure(method, stages, number) for method in (SID_ALONE, BACKPROP_ALONE, SID_PIPELINE) for number in numbers]
    found.append(Procedure(DATA_PARALLEL))
    notes = []
    for contender in (Procedure(method, stages, number) for method in RIVALS for number in micro_batches):
        method, number = contender.method, contender.micro_batches
        if method == ZERO_BUBBLE_V and stages < 2 * workers:
            notes.append(f"{contender.name}: two pieces a worker need {2 * workers} stages or more, not {stages}")
        elif method in (ONE_F_ONE_B, ZERO_BUBBLE) and number < workers:
            notes.append(f"{contender.name}: the schedule takes at least as many as there are workers, {workers}")
        elif method == ZERO_BUBBLE and number % (number // workers):
            notes.append(f"{contender.name}: the schedule takes rounds of {workers} micro-batches")
        else:
            found.append(contender)
    return found, notes


def build(workload: Workload, contender: Procedure, settings: PipelineSettings, world: World, seconds: Seconds) -> Trainable | None:
    """Return this worker's part of a contender; None where it has nothing to do."""
    if alone := {SID_ALONE: SID, BACKPROP_ALONE: BACKPROP}.get(contender.method):
        return build_alone(workload, replace(contender, method=alone), by="graph") if world.rank == 0 else None
    if contender.method == SID_PIPELINE:
        return _sid_pipeline(workload, contender, settings, world, seconds[SID])
    if contender.method == DATA_PARALLEL:
        return _data_parallel(workload, world)
    return pipeline(workload, contender, world, seconds[BACKPROP])


def _sid_pipeline(
    workload: Workload, contender: Procedure, settings: PipelineSettings, world: World, seconds: Sequence[float]
) -> Trainable:
    """Return this worker's part of SID's pipeline, with connections of its own."""
    world = _connected_anew(world)
    cascade, stages = cut(workload)
    x, target = workload.batch()
    learner = PipelinedSID(
        sid.SID(cascade, candidates=workload.candidates),
        world,
        optimizer=new_optimizer,
        batch_size=len(x),
        example=x[:2],
        seconds=seconds,
        micro_batches=contender.micro_batches,
        wire=settings.wire,
        queue=settings.queue,
    )
    recorder = Recorder()
    for stage in learner.assignment[world.position]:
        recorder.follow(stages[stage], cascade.heads[stage])
    recorder.follow_updates(learner.optimizer)
    return Trainable(
        module=cascade,
        step=lambda: learner.step(x, target),
        recorder=recorder,
        flush=learner.flush,
        sent_bytes=lambda: learner.sent_bytes,
    )


def _connected_anew(world: World) -> World:
    """Return the same place with another group along the `stage` axis.

    SID's pipeline awaits messages between its turns as well, and must not take those of a rival, or of the next model.
    """
    groups = [dist.new_group(), world.mesh.get_group("data")]
    mesh = DeviceMesh.from_group(groups, world.device.type, mesh=world.mesh.mesh, mesh_dim_names=("stage", "data"))
    return replace(world, mesh=mesh)


def _data_parallel(workload: Workload, world: World) -> Trainable:
    """Return backpropagation with the batch split over the workers, which average their gradients.

    What is sent is computed, as a ring sends it: `2 (N−1)/N` of the gradients by each worker.
    """
    model = workload.new_model()
    parallel = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer, recorder = new_optimizer(model), Recorder()
    recorder.follow(parallel, parallel)
    recorder.follow_updates(optimizer)
    parallel.register_comm_hook(recorder, _average)
    x, target = (part.chunk(world.size)[world.rank] for part in workload.batch())
    a_step = 2 * (world.size - 1) * sum(parameter.nbytes for parameter in model.parameters()) // world.size
    steps = 0

    def step() -> None:
        nonlocal steps
        optimizer.zero_grad()
        cross_entropy(parallel(x), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps += 1

    return Trainable(module=model, step=step, recorder=recorder, sent_bytes=lambda: steps * a_step)


def _average(
    recorder: Recorder,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[torch.Tensor]:
    """Average a bucket of gradients over the workers; after the last one, nothing but waiting is left of the backward pass."""
    if bucket.is_last():
        recorder.end()
    return allreduce_hook(None, bucket)  # type: ignore[arg-type]


class _Stage(PipelineStage):
    """A stage that records when it computes, and counts what it sends."""

    def __init__(self, module: nn.Module, index: int, number: int, recorder: Recorder) -> None:
        super().__init__(module, index, number, torch.device("cpu"))
        self.sent_bytes = 0
        computes = {"forward_one_chunk": FORWARD, "backward_one_chunk": BACKWARD, "backward_weight_one_chunk": BACKWARD}
        for name, what in computes.items():
            setattr(self, name, recorder.during(what)(getattr(self, name)))

    def get_fwd_send_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        return self._counted(super().get_fwd_send_ops(fwd_chunk_id))

    def get_bwd_send_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        return self._counted(super().get_bwd_send_ops(bwd_chunk_id))

    def _counted(self, operations: list[dist.P2POp]) -> list[dist.P2POp]:
        self.sent_bytes += sum(operation.tensor.nbytes for operation in operations)
        return operations


def pipeline(workload: Workload, contender: Procedure, world: World, seconds: Sequence[float]) -> Trainable:
    """Return this worker's part of a pipeline along all of them, whose pieces are balanced by the seconds of each stage."""
    number = world.size * (2 if contender.method == ZERO_BUBBLE_V else 1)
    own = {world.rank, number - 1 - world.rank} if contender.method == ZERO_BUBBLE_V else {world.rank}
    recorder, (_, modules) = Recorder(), cut(workload)
    stages = [
        _Stage(Chain(*modules[piece.start : piece.stop]), index, number, recorder)
        for index, piece in enumerate(assign(seconds, number))
        if index in own
    ]
    del modules  # of the other workers

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        with recorder.during(FORWARD):
            return cross_entropy(logits, target)

    several = issubclass(RIVALS[contender.method], schedules.PipelineScheduleMulti)
    schedule = RIVALS[contender.method](stages if several else stages[0], contender.micro_batches, loss)
    trained = nn.ModuleList(stage.submod for stage in stages)
    optimizer = new_optimizer(trained)
    recorder.follow_updates(optimizer)
    x, target = workload.batch()
    inputs = (x,) if 0 in own else ()
    targets = target if number - 1 in own else None

    def step() -> None:
        optimizer.zero_grad()
        schedule.step(*inputs, target=targets, return_outputs=False)
        optimizer.step()

    return Trainable(module=trained, step=step, recorder=recorder, sent_bytes=lambda: sum(stage.sent_bytes for stage in stages))


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean over samples and positions, of logits `[B, ..., C]` and outcomes `[B, ...]`."""
    return F.cross_entropy(logits.flatten(0, -2), target.flatten())


class Chain(nn.Sequential):
    """Consecutive stages, of `GraphSegments.modules`: takes the values that cross the cut before, gives those of the one behind."""

    def forward(self, *values: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Return the values that cross the next cut; the model's logits `[B, C]` at its end."""
        for stage in self:
            values = stage(*values)
        return values


def cut(workload: Workload) -> tuple[StagedCascade, tuple[fx.GraphModule, ...]]:
    """Return the workload's model cut into its number of stages, and the stages as modules, without heads."""
    (stages,) = workload.stages
    cascade = workload.new_cascade(stages, by="graph")
    assert isinstance(cascade, StagedCascade)
    assert isinstance(cascade.segments, GraphSegments)
    return cascade, cascade.segments.modules


def seconds_of_stages(workload: Workload) -> Seconds:
    """Return the median seconds that forward and backward of each stage take on the whole batch."""
    x, target = workload.batch()
    _, stages = cut(workload)
    rounds = [_forward_and_backward(stages, x, target) for _ in range(1 + _REPEATS)]
    cascade, _ = cut(workload)
    parts = sid_seconds(cascade, x, target, new_optimizer(cascade), candidates=workload.candidates, repeats=_REPEATS)
    return {
        SID: [each[FORWARD] + each[HEAD] + each[BACKWARD] for each in parts],
        BACKPROP: [median(column) for column in zip(*rounds[1:], strict=True)],
    }


def _forward_and_backward(stages: Sequence[nn.Module], x: Tensor, target: Tensor) -> list[float]:
    """Return the seconds of each stage in backpropagation, where unlike in SID it has a gradient for the stage before."""
    values: tuple[Tensor, ...] = (x,)
    seconds = []
    for stage in stages:
        start = perf_counter()
        outputs = stage(*values)
        if isinstance(outputs, Tensor):
            outputs = (cross_entropy(outputs, target),)
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
        seconds.append(perf_counter() - start)
        values = tuple(output.detach().requires_grad_() for output in outputs)
    return seconds
