"""How long each piece takes for a sample: from its operations, or measured on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass

from torchsid.planner.devices import Device, Precision
from torchsid.planner.trace import Trace

UTILISATION = 0.4  # of the peak that training reaches: usual for large models on data-centre devices


@dataclass(frozen=True)
class Speed:
    """Seconds a sample of every piece, and of the head at its end, forward and backward; and how fast parameters are updated."""

    forward: Sequence[float]
    backward: Sequence[float]
    """Gradients of inputs and weights, half and half."""
    heads: Sequence[float]
    bandwidth: float
    """Bytes a second of an update."""

    @property
    def trunk(self) -> list[float]:
        """Forward and backward of every piece."""
        return [forward + backward for forward, backward in zip(self.forward, self.backward, strict=True)]


def on_paper(trace: Trace, device: Device, precision: Precision, utilisation: float) -> Speed:
    """Return `FLOP / (peak · utilisation)`, with twice as many FLOP backward as forward: every product has two gradients."""
    rate = device.flops[precision] * utilisation / 2  # multiply-adds a second
    forward = [piece.operations / rate for piece in trace.pieces]
    heads = [3 * piece.head_operations / rate for piece in trace.pieces]
    return Speed(forward, [2 * seconds for seconds in forward], heads, device.bandwidth)
