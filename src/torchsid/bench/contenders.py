"""Who is compared on a workload: ways to train it, by name, before anything is built."""

from dataclasses import dataclass
from typing import Final

from torchsid.bench.workload import Workload
from torchsid.core import schedules

BACKPROP: Final = "backprop"
CHECKPOINTING: Final = "checkpointing"
ACCUMULATION: Final = "accumulation"
DEEP_SUPERVISION: Final = "deep supervision"
SID: Final = "sid"
REFERENCE: Final = "reference"
PLAIN: Final = "plain"
TWO_PHASE: Final = "two_phase"

BASES = (REFERENCE, BACKPROP, CHECKPOINTING, PLAIN)
"""Whom the others are compared with, where they take part."""
_MICRO_BATCHES = 4  # of gradient accumulation
_DEEPEST_SUPERVISION = 4


@dataclass(frozen=True)
class Procedure:
    """A way to train: a method, the stages of the network (1: it is not cut), and how it goes about it."""

    method: str
    stages: int = 1
    micro_batches: int = 1
    """Parts of the batch over which gradients are gathered."""
    window: int = 1
    """How many stages a local loss reaches back over."""

    @property
    def name(self) -> str:
        """The method, with what tells it from others of the same."""
        parts = [f"{SID}-{self.stages}" if self.method == SID else self.method]
        if self.method == SID and self.window > 1:
            parts.append(f"window {self.window}")
        if self.method != ACCUMULATION and self.micro_batches > 1:
            parts.append(f"{self.micro_batches} micro-batches")
        return ", ".join(parts)


def contenders(workload: Workload) -> list[Procedure]:
    """Return who is compared: on a shared cascade the public code, backpropagation, and SID by each of its schedules.

    A classifier is trained by backpropagation, in the usual ways to save memory, by deep supervision through SID's heads, and SID.
    """
    if workload.shared:
        return [Procedure(method, *workload.stages) for method in (REFERENCE, BACKPROP, *schedules.names(), PLAIN)]
    supervised = [stages for stages in workload.stages if stages <= _DEEPEST_SUPERVISION]
    return [
        Procedure(BACKPROP),
        Procedure(CHECKPOINTING, max(workload.stages)),
        Procedure(ACCUMULATION, micro_batches=_MICRO_BATCHES),
        *(Procedure(DEEP_SUPERVISION, stages, window=stages) for stages in supervised[-1:]),
        *(Procedure(SID, stages) for stages in workload.stages),
    ]
