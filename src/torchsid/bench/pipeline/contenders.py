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
    alone_or_sid = (SID_ALONE, BACKPROP_ALONE, SID_PIPELINE)
    found = [Contender(method, stages, number) for method in alone_or_sid for number in numbers]
    found.append(Contender(DATA_PARALLEL))
    notes = []
    for method in RIVALS:
        if method == ZERO_BUBBLE_V and stages < 2 * workers:
            notes.append(f"{method}: two pieces a worker need {2 * workers} stages or more, not {stages}")
            continue
        for number in micro_batches:
            contender = Contender(method, stages, number)
            if why := _impossible(method, number, workers):
                notes.append(f"{contender.name}: {why}")
            else:
                found.append(contender)
    return found, notes


def _impossible(method: str, micro_batches: int, workers: int) -> str:
    if method in (ONE_F_ONE_B, ZERO_BUBBLE) and micro_batches < workers:
        return f"the schedule takes at least as many as there are workers, {workers}"
    if method == ZERO_BUBBLE and micro_batches % (micro_batches // workers):
        return f"the schedule takes rounds of {workers} micro-batches"
    return ""
