"""The contenders of `torchsid bench pipeline` by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SID: Final = "sid"
BACKPROP: Final = "backprop"
SID_PIPELINE: Final = "sid pipeline"
DATA_PARALLEL: Final = "data parallel"
GPIPE: Final = "gpipe"
ONE_F_ONE_B: Final = "1f1b"
ZERO_BUBBLE: Final = "zero bubble"
ZERO_BUBBLE_V: Final = "zero bubble v"

ALONE = (SID, BACKPROP)
"""Run on one worker, while the others wait."""
RIVALS = (GPIPE, ONE_F_ONE_B, ZERO_BUBBLE, ZERO_BUBBLE_V)
"""Backpropagation's pipelines: `ScheduleGPipe`, `Schedule1F1B`, `ScheduleInterleavedZeroBubble` with one piece a worker (ZB1P), and
`ScheduleZBVZeroBubble` with two, of `torch.distributed.pipelining`."""


@dataclass(frozen=True)
class Entry:
    """One way of training: a method, and the number of parts that it cuts the batch into."""

    method: str
    micro_batches: int = 1

    @property
    def name(self) -> str:
        """The method, with what tells it from others of the same."""
        parts = [self.method, "one worker" if self.method in ALONE else ""]
        parts += [f"{self.micro_batches} micro-batches"] if self.method in RIVALS or self.micro_batches > 1 else []
        return ", ".join(filter(None, parts))

    @property
    def baseline(self) -> str:
        """The method that the speed-up of this one is measured against: the same way of learning on one worker."""
        return SID if self.method in (SID, SID_PIPELINE) else BACKPROP


def entries(micro_batches: Sequence[int], *, workers: int, stages: int) -> tuple[list[Entry], list[str]]:
    """Return what is compared, one-worker contenders first, and why some of it is left out.

    Args:
        micro_batches: numbers of micro-batches to try; one worker and SID need none, and try that too.
        workers: N.
        stages: that the model is cut into.
    """
    numbers = sorted({1, *micro_batches})
    found = [Entry(method, number) for method in (*ALONE, SID_PIPELINE) for number in numbers]
    found.append(Entry(DATA_PARALLEL))
    notes = []
    for method in RIVALS:
        if method == ZERO_BUBBLE_V and stages < 2 * workers:
            notes.append(f"{method}: two pieces a worker need {2 * workers} stages or more, not {stages}")
            continue
        for number in micro_batches:
            if why := _impossible(method, number, workers):
                notes.append(f"{Entry(method, number).name}: {why}")
            else:
                found.append(Entry(method, number))
    return found, notes


def _impossible(method: str, micro_batches: int, workers: int) -> str:
    if method in (ONE_F_ONE_B, ZERO_BUBBLE) and micro_batches < workers:
        return f"the schedule takes at least as many as there are workers, {workers}"
    if method == ZERO_BUBBLE and micro_batches % (micro_batches // workers):
        return f"the schedule takes rounds of {workers} micro-batches"
    return ""
