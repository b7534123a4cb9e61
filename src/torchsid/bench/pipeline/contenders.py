"""Who is compared on several workers, and the part of each on every worker; the pipelines of backpropagation are in `rivals`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.device_mesh import DeviceMesh
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from torchsid.bench.comparisons import PipelineSettings
from torchsid.bench.contenders import BACKPROP, SID, Procedure
from torchsid.bench.pieces import Seconds, cut
from torchsid.bench.pipeline.rivals import ONE_F_ONE_B, RIVALS, ZERO_BUBBLE, ZERO_BUBBLE_V, pipeline
from torchsid.bench.recorder import Recorder
from torchsid.bench.trainable import Trainable, new_optimizer
from torchsid.bench.trainable import build as build_alone
from torchsid.bench.workload import Workload
from torchsid.distributed.pipeline import PipelinedSID
from torchsid.distributed.world import World
from torchsid.learners import sid

SID_ALONE: Final = "sid, one worker"
BACKPROP_ALONE: Final = "backprop, one worker"
SID_PIPELINE: Final = "sid pipeline"
DATA_PARALLEL: Final = "data parallel"


def pipeline_contenders(micro_batches: Sequence[int], *, workers: int, stages: int) -> tuple[list[Procedure], list[str]]:
    """Return who is compared, those on one worker first, and why some are left out.

    Args:
        micro_batches: numbers of micro-batches to try; one worker and SID need none, and try that too.
        workers: N.
        stages: that the model is cut into.
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
        sid.SID(cascade),
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
        F.cross_entropy(parallel(x), target).backward()  # type: ignore[no-untyped-call]
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
