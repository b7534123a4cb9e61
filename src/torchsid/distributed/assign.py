"""Which worker gets which stages, if there is a way: consecutive ones, so that the slowest worker is as fast as can be."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from torchsid.core.shared import SharedCascade
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import StagedCascade
from torchsid.cut.cuts import balanced_cuts
from torchsid.learners.sid import SID

_STEPS = 3  # that are timed, after one that warms up


def problems(
    method: Any, network: type, depth: int, positions: int, *, replicas: int, micro_batches: int, staleness: int
) -> Iterator[str]:
    """Yield why SID cannot train a network on several workers.

    Args:
        method: a learner or its settings: what has `window`, `combine` and `teachers`.
        network: the class of the cascade.
        depth: the number of stages L.
        positions: of the workers on the `stage` axis.
        replicas: of each stage.
        micro_batches: as of `PipelinedSID`.
        staleness: as there.
    """
    if shared := issubclass(network, SharedCascade):
        if replicas > 1:
            yield f"distributed.replicas = {replicas} is for staged networks: a shared cascade has one of each stage, set it to 1"
        elif positions < 2:
            yield "1 worker: a shared cascade is spread over 2 or more, the first has the extractor"
        if micro_batches > 1:
            yield f"distributed.micro_batches = {micro_batches} is for staged networks: set it to 1"
        if method.combine == "pcgrad":
            yield "learner.combine = 'pcgrad' needs the gradients of all stages in one place: set it to 'sum' or 'mean'"
    else:
        if method.teachers != "same-batch":
            yield f"learner.teachers = {method.teachers!r} spares a staged network no waiting for features: set it to 'same-batch'"
        if staleness:
            yield f"distributed.staleness = {staleness} is for a shared extractor, which waits for a gradient: set it to 0"
        if method.window != 1:
            yield f"learner.window = {method.window} sends gradients back over the cuts: set learner.window = 1"
    if positions - shared > depth:
        yield (
            f"{positions * replicas} workers for {depth} stages: at most {(depth + shared) * replicas} have something to do; start "
            "fewer, raise model.depth, or put the rest to use by distributed.replicas"
        )


def assign(seconds: Sequence[float], workers: int) -> list[range]:
    """Return the stages of each worker, given what each stage costs; there are as many stages or more."""
    ends = balanced_cuts(len(seconds), workers, lambda a, b: sum(seconds[a:b]))
    assert ends is not None  # every cost is finite
    return [range(start, end) for start, end in pairwise((0, *ends))]


def stage_seconds(cascade: StagedCascade, x: Tensor, target: Tensor) -> list[float]:
    """Return what forward, head and backward of each stage take on this machine, in seconds; leaves no trace.

    Raises:
        TargetError: the target does not fit the batch.
    """
    learner, rounds = SID(cascade), []
    with without_side_effects(cascade):
        cascade.train()
        for _ in range(1 + _STEPS):
            ends = [time.perf_counter()]

            def trained(stage: int) -> None:
                if x.device.type == "cuda":
                    torch.cuda.synchronize(x.device)
                ends.append(time.perf_counter())  # noqa: B023 - called within the round

            learner.schedule(replace(learner.new_step(x, target), on_trained=trained))
            rounds.append([end - start for start, end in pairwise(ends)])
            cascade.zero_grad()
    return [median(each) for each in zip(*rounds[1:], strict=True)]
