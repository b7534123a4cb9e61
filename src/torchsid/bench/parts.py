"""The parts of a SID step, from what the recorder saw of the real one, and how many workers they would let work at once.

The extractor's part is all of its passes and its update. Phase 1 is the chain of stages without gradients, which makes the
teachers; of a staged cascade, which has no extractor, the forward pass of trunk and heads. Phase 2 is the local losses, every stage
forward and backward; of a staged cascade their backward passes. The updates are those of the stages.

Extractor and phase 1 run one after another: a stage needs the belief of the one before it, and all need the extractor. Phase 2 and
the updates are L problems that know nothing of one another.
"""

from collections.abc import Mapping

from torchsid.bench.recorder import BACKWARD, EXTRACTOR, EXTRACTOR_UPDATE, FORWARD, STAGES, TEACHERS, UPDATE

PARTS = (EXTRACTOR, TEACHERS, STAGES, UPDATE)
SERIAL = (EXTRACTOR, TEACHERS)
_PART_OF = {EXTRACTOR_UPDATE: EXTRACTOR, FORWARD: TEACHERS, BACKWARD: STAGES}


def shares(step: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each part in the seconds of a step; they add up to 1."""
    whole = sum(step.values())
    found: dict[str, float] = {}
    for what, seconds in step.items():
        part = _PART_OF.get(what, what)
        found[part] = found.get(part, 0.0) + seconds / whole
    return found


def serial_share(parts: Mapping[str, float]) -> float:
    """Return `s`, the share of a step that runs one after another however many workers there are."""
    return sum(parts.get(part, 0.0) for part in SERIAL)


def bound(share: float, workers: float) -> float:
    """Return the most that workers can gain on one batch, `1 / (s + (1 − s) / n)` (Amdahl, 1967).

    >>> bound(0.5, 2), bound(0.0, 64)
    (1.3333333333333333, 64.0)
    """
    return 1 / (share + (1 - share) / workers)
