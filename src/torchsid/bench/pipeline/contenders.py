"""Who is compared on several workers."""

from collections.abc import Sequence
from typing import Final

from torchsid.bench.contenders import Contender

SID_ALONE: Final = "sid, one worker"
BACKPROP_ALONE: Final = "backprop, one worker"
SID_PIPELINE: Final = "sid pipeline"
DATA_PARALLEL: Final = "data parallel"
GPIPE: Final = "gpipe"
ONE_F_ONE_B: Final = "1f1b"
ZERO_BUBBLE: Final = "zero bubble"
ZERO_BUBBLE_V: Final = "zero bubble v"

RIVALS = (GPIPE, ONE_F_ONE_B, ZERO_BUBBLE, ZERO_BUBBLE_V)
"""Backpropagation's pipelines: `ScheduleGPipe`, `Schedule1F1B`, `ScheduleInterleavedZeroBubble` with one piece a worker (ZB1P), and
`ScheduleZBVZeroBubble` with two, of `torch.distributed.pipelining`."""


def pipeline_contenders(micro_batches: Sequence[int], *, workers: int, stages: int) -> tuple[list[Contender], list[str]]:
    """Return who is compared, those on one worker first, and why some are left out.

    Args:
        micro_batches: numbers of micro-batches to try; one worker and SID need none, and try that too.
        workers: N.
        stages: that the model is cut into.
    """
    numbers = sorted({1, *micro_batches})
    found = [Contender(method, stages, number) for method in (SID_ALONE, BACKPROP_ALONE, SID_PIPELINE) for number in numbers]
    found.append(Contender(DATA_PARALLEL))
    notes = []
    for contender in (Contender(method, stages, number) for method in RIVALS for number in micro_batches):
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
