"""Traces and meshes with numbers that are easy to follow."""

from dataclasses import replace

from torchsid.core.staged import StagePlan
from torchsid.planner.devices import Device, Link
from torchsid.planner.forecast import Mesh
from torchsid.planner.trace import Passed, Trace

DEVICE = Device("D", {"float32": 1e12, "bfloat16": 2e12}, 2**30, 1e12)


def even_trace(pieces: int, *, kept: int = 100, crossing: int = 10) -> Trace:
    """A model of equal pieces, 1 MFLOP a sample each, whose heads cost 1 % of a piece and keep a tenth of it."""

    def passed(batch: int) -> Passed:
        trunk, heads = ([{first + i: size * batch} for i in range(pieces)] for first, size in ((0, kept), (1000, kept // 10)))
        return Passed(trunk, heads, [0] * pieces)

    piece = StagePlan(
        cut="p",
        features=(crossing,),
        parameters=1000,
        operations=500_000,
        kept_bytes=kept,
        head="linear",
        head_parameters=10,
        head_operations=5000,
    )
    last = replace(piece, head="own", head_operations=0)
    return Trace((*[piece] * (pieces - 1), last), 48, 10, (passed(2), passed(4)))


def mesh(**changes: object) -> Mesh:
    """Four devices in a pipeline, 64 samples."""
    settings: dict[str, object] = {
        "device": DEVICE,
        "link": Link(1e12, 0.0),
        "ranks": 4,
        "data": 1,
        "stages": 4,
        "batch": 64,
        "micro_batches": 16,
        "optimizer": "adamw",
        "precision": "float32",
        "queue": 2,
    }
    return Mesh(**{**settings, **changes})  # type: ignore[arg-type]
