"""Which worker gets which stages: consecutive ones, so that the slowest worker is as fast as can be."""

import time
from collections.abc import Sequence
from statistics import median

import torch
from torch import Tensor

from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import StagedCascade
from torchsid.cut.balance import balanced_cuts
from torchsid.errors import ConfigError
from torchsid.learners.sid import SID

_STEPS = 3  # that are timed, after one that warms up


def assign(seconds: Sequence[float], workers: int) -> list[range]:
    """Return the stages of each worker, given what each stage costs.

    Raises:
        ConfigError: there are more workers than stages.
    """
    if workers > len(seconds):
        raise ConfigError(
            [
                f"{workers} workers for {len(seconds)} stages: every worker needs one or more; start fewer workers, "
                f"raise model.depth to {workers} or more, or put the rest to use by distributed.replicas"
            ],
            source="distributed job",
        )
    ends = balanced_cuts(len(seconds), workers, lambda a, b: sum(seconds[a:b]))
    assert ends is not None  # every cost is finite
    return [range(start, end) for start, end in zip((0, *ends), ends, strict=False)]


def stage_seconds(cascade: StagedCascade, x: Tensor, target: Tensor) -> list[float]:
    """Return what forward, head and backward of each stage take on this machine, in seconds; leaves no trace.

    Raises:
        TargetError: the target does not fit the batch.
    """
    times: list[list[float]] = [[] for _ in range(cascade.depth)]
    learner = SID(cascade)
    with without_side_effects(cascade):
        cascade.train()
        for step in range(_STEPS + 1):
            since = time.perf_counter()

            def trained(stage: int) -> None:
                nonlocal since
                if x.device.type == "cuda":
                    torch.cuda.synchronize(x.device)
                now = time.perf_counter()
                if step:  # noqa: B023 - called within the round
                    times[stage].append(now - since)
                since = now

            learner.schedule(learner.new_step(x, target, on_trained=trained))
            cascade.zero_grad()
    return [median(each) for each in times]
