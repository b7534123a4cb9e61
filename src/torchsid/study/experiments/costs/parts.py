"""One SID step with the clock read between its parts, and how many workers the parts would let work at once.

| part | shared cascade, two phases | staged cascade |
| --- | --- | --- |
| extractor | its pass in phase 1; its forward and backward pass and its update in phase 2 | – |
| phase 1 | the chain of stages without gradients, which makes the teachers | the forward pass of trunk and heads |
| phase 2 | the local losses: every stage forward and backward | the backward passes of the local losses |
| update | of the stages | of the stages |

Extractor and phase 1 run one after another: a stage needs the belief of the one before it, and all need the extractor. Phase 2 and
the updates are L problems that know nothing of one another.
"""

import time

import torch
from torch import Tensor

from torchsid.core.schedules.local_pass import local_pass
from torchsid.core.shared import SharedCascade
from torchsid.core.side_effects import without_side_effects
from torchsid.learners.sid import SID

EXTRACTOR, PHASE_1, PHASE_2, UPDATE = "extractor", "phase 1", "phase 2", "update"
PARTS = (EXTRACTOR, PHASE_1, PHASE_2, UPDATE)
SERIAL = (EXTRACTOR, PHASE_1)

Parts = dict[str, float]
"""Seconds by part; they add up to those of the step."""


def in_parts(learner: SID, x: Tensor, target: Tensor) -> Parts:
    """Take one step, of a shared cascade by the paper's two phases, of a staged one as it streams, and return its parts.

    Args:
        learner: with an optimiser, and a window of one stage.
        x: images `[B, C, S, S]`.
        target: classes `[B]`.
    """
    watch = _Stopwatch()
    if isinstance(learner.module, SharedCascade):
        _two_phases(learner, learner.module, x, target, watch)
    else:
        _stage_by_stage(learner, x, target, watch)
    return watch.parts


def serial_share(parts: Parts) -> float:
    """Return `s`, the share of a step that runs one after another however many workers there are."""
    return sum(parts.get(part, 0.0) for part in SERIAL) / sum(parts.values())


def bound(share: float, workers: float) -> float:
    """Return the most that workers can gain on one batch, `1 / (s + (1 − s) / n)` (Amdahl, 1967).

    >>> bound(0.5, 2), bound(0.0, 64)
    (1.3333333333333333, 64.0)
    """
    return 1 / (share + (1 - share) / workers)


class _Stopwatch:
    """Gives the time since the last reading to a part."""

    def __init__(self) -> None:
        self.parts: Parts = {}
        self._last = time.perf_counter()

    def read(self, part: str) -> None:
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now


def _two_phases(learner: SID, cascade: SharedCascade, x: Tensor, target: Tensor, watch: _Stopwatch) -> None:
    """Do what `torchsid.core.schedules.two_phase` does, and update."""
    step = learner.new_step(x, target)
    with torch.no_grad(), without_side_effects(cascade):
        watch.read(PHASE_1)
        z = cascade.features(x)
        watch.read(EXTRACTOR)
        teachers = cascade.refine(z)[1][:-1]
    watch.read(PHASE_1)
    z = cascade.features(x)
    watch.read(EXTRACTOR)
    leaf = z.detach().requires_grad_()
    local_pass(step, leaf, teachers=teachers)  # gives the leaf what it would have given the extractor
    watch.read(PHASE_2)
    learner.update(0)  # all stages: only they have gradients yet
    watch.read(UPDATE)
    z.backward(leaf.grad)  # type: ignore[no-untyped-call]
    learner.update(cascade.depth)
    watch.read(EXTRACTOR)


def _stage_by_stage(learner: SID, x: Tensor, target: Tensor, watch: _Stopwatch) -> None:
    """Do what `SID.step` does."""

    def trained(stage: int) -> None:
        watch.read(PHASE_2)
        learner.update(stage)
        watch.read(UPDATE)

    def judged(stage: int, log_belief: Tensor, loss: Tensor) -> None:
        watch.read(PHASE_1)

    learner.schedule(learner.new_step(x, target, on_belief=judged, on_trained=trained))
    watch.read(PHASE_1)
