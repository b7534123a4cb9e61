"""Traces and meshes with numbers that are easy to follow."""

from torchsid.planner.devices import Device, Link
from torchsid.planner.forecast import Mesh
from torchsid.planner.trace import Passed, Piece, Trace

DEVICE = Device("D", {"float32": 1e12, "bfloat16": 2e12}, 2**30, 1e12)


def even_trace(pieces: int, *, kept: int = 100, parameters: int = 1000, crossing: int = 10) -> Trace:
    """A model of equal pieces, 1 MFLOP a sample each, whose heads cost 1 % of a piece and keep a tenth of it."""

    def passed(batch: int) -> Passed:
        trunk, heads = ([{first + i: size * batch} for i in range(pieces)] for first, size in ((0, kept), (1000, kept // 10)))
        return Passed(trunk, heads, [0] * pieces, [crossing] * pieces)

    made = [
        Piece(f"p{i}", parameters, 10**6, crossing, "linear" if i < pieces - 1 else "own", 10, 10**4 if i < pieces - 1 else 0)
        for i in range(pieces)
    ]
    return Trace(tuple(made), 48, 10, (passed(2), passed(4)))


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
