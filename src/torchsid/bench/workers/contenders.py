"""What is measured: on every worker, its part of a way to train. The pipelines of backpropagation are in `rivals`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.device_mesh import DeviceMesh
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from torchsid.bench.workers.pieces import cut
from torchsid.bench.workers.recorder import Recorder
from torchsid.bench.workload import Workload
from torchsid.core.learner import Learner
from torchsid.distributed.handover import Wire
from torchsid.distributed.pipeline import PipelinedSID
from torchsid.distributed.world import World
from torchsid.learners.backprop import Backprop
from torchsid.learners.sid import SID


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One worker's part in one way to train a model."""

    module: nn.Module
    """What this worker trains."""
    step: Callable[[], object]
    """Forward, backward and update of one batch, as far as they fall to this worker."""
    recorder: Recorder
    flush: Callable[[], None] = _nothing
    """Wait until everything that was sent has left."""
    sent_bytes: Callable[[], int] = lambda: 0
    """By this worker, since it began."""


def new_optimizer(module: nn.Module) -> SGD:
    """Return the optimiser of every contender."""
    return SGD(module.parameters(), lr=0.01, momentum=0.9)


def backprop(workload: Workload, micro_batches: int = 1) -> Contender:
    """Return backpropagation on this worker alone; its gradients are gathered over micro-batches."""
    model = workload.new_model()
    learner, optimizer, recorder = Backprop(model), new_optimizer(model), Recorder()
    recorder.follow(model, model)
    recorder.follow_updates(optimizer)
    return Contender(module=model, step=_accumulating(workload, learner, optimizer, micro_batches), recorder=recorder)


def sid(workload: Workload, micro_batches: int = 1) -> Contender:
    """Return SID on this worker alone, stage by stage; over micro-batches its gradients are gathered."""
    cascade, stages = cut(workload)
    optimizer, recorder = new_optimizer(cascade), Recorder()
    for stage, head in zip(stages, cascade.heads, strict=True):
        recorder.follow(stage, head)
    recorder.follow_updates(optimizer)
    learner = SID(cascade, optimizer=optimizer)
    if micro_batches > 1:
        return Contender(module=cascade, step=_accumulating(workload, learner, optimizer, micro_batches), recorder=recorder)
    x, target = workload.batch()
    return Contender(module=cascade, step=lambda: learner.step(x, target), recorder=recorder)


def _accumulating(workload: Workload, learner: Learner, optimizer: SGD, micro_batches: int) -> Callable[[], None]:
    x, target = workload.batch()
    parts = list(zip(x.chunk(micro_batches), target.chunk(micro_batches), strict=True))

    def step() -> None:
        optimizer.zero_grad()
        for part, classes in parts:
            learner.backward(part, classes, scale=len(part) / len(x))
        optimizer.step()

    return step


def sid_pipeline(
    workload: Workload, world: World, seconds: Sequence[float], micro_batches: int = 1, *, wire: Wire, queue: int
) -> Contender:
    """Return this worker's part of SID's pipeline, with connections of its own; arguments as for `PipelinedSID`."""
    world = _connected_anew(world)
    cascade, stages = cut(workload)
    x, target = workload.batch()
    learner = PipelinedSID(
        cascade,
        world,
        optimizer=new_optimizer,
        batch_size=len(x),
        example=x[:2],
        seconds=seconds,
        micro_batches=micro_batches,
        wire=wire,
        queue=queue,
    )
    recorder = Recorder()
    for stage in learner.assignment[world.position]:
        recorder.follow(stages[stage], cascade.heads[stage])
    recorder.follow_updates(learner.optimizer)
    return Contender(
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


def data_parallel(workload: Workload, world: World) -> Contender:
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
        F.cross_entropy(parallel(x), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps += 1

    return Contender(module=model, step=step, recorder=recorder, sent_bytes=lambda: steps * a_step)


def _average(
    recorder: Recorder,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[torch.Tensor]:
    """Average a bucket of gradients over the workers; after the last one, nothing but waiting is left of the backward pass."""
    if bucket.is_last():
        recorder.end()
    return allreduce_hook(None, bucket)  # type: ignore[arg-type]
