"""The last stage's readout as the heads of earlier stages read it: a copy that no gradient reaches, a few steps old.

The last loss alone trains the readout W. With a refresh every S steps, heads read in steps `bS … (b+1)S − 1` what W was when step
`(b−1)S` began, and for b = 0 what it was when training began. So whoever trains W may be S steps behind, and nobody waits.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ReadoutCopy(nn.Module):
    """A read-only copy of a linear layer, one for all heads: buffers for what they read now, and for what they will read next.

    A step is one of the optimiser. Batches whose gradients add up belong to one: a step begins where the layer has no gradient, or
    has been changed since.

    Args:
        source: the layer; it stays where it is, and is no submodule here.
    """

    weight: Tensor
    bias: Tensor | None
    steps: Tensor

    def __init__(self, source: nn.Linear) -> None:
        super().__init__()
        self._source = (source,)
        self.refresh = 1
        """S, the steps from one refresh to the next."""
        for name in ("weight", "bias"):
            tensor = getattr(source, name)
            for copy in (name, f"coming_{name}"):
                self.register_buffer(copy, None if tensor is None else tensor.detach().clone())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=source.weight.device))
        self._version = -1  # of the layer's weights in the newest step

    @property
    def source(self) -> nn.Linear:
        """The layer that is copied."""
        return self._source[0]

    def forward(self, hidden: Tensor) -> Tensor:
        """Return `W h + b`, `[..., C]`, from `[..., D]`."""
        if hidden.dtype != self.weight.dtype and not torch.is_autocast_enabled(hidden.device.type):
            hidden = hidden.to(self.weight.dtype)
        return F.linear(hidden, self.weight, self.bias)

    @torch.no_grad()
    def begin_step(self) -> None:
        """Take notice that a batch is to be trained on; where a step begins with it, refresh the copy if that is due.

        It reads no value, so that a step can be captured.
        """
        layer = self.source.weight
        if layer.grad is not None and layer._version == self._version:
            return
        self._version = layer._version
        first, due = self.steps == 0, self.steps % self.refresh == 0
        for name in ("weight", "bias"):
            now, coming, newest = getattr(self, name), getattr(self, f"coming_{name}"), getattr(self.source, name)
            if now is not None:
                torch.where(due, torch.where(first, newest, coming), now, out=now)
                torch.where(due, newest, coming, out=coming)
        self.steps += 1
