"""The last stage's readout as the heads of earlier stages read it: a copy that no gradient reaches, a few steps old.

The last loss alone trains the readout W. With a refresh every S steps, heads read in steps `bS … (b+1)S − 1` what W was when step
`(b−1)S` began, and for b = 0 what it was when training began. So whoever trains W may be S steps behind, and nobody waits.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_NAMES = ("weight", "bias")


class ReadoutCopy(nn.Module):
    """A read-only copy of a linear layer, one for all heads: buffers for what they read now, and for what they will read next.

    A step is one of the optimiser. Batches whose gradients add up belong to one: a step begins where the layer has no gradient, or
    has been changed since. A captured `backward` alone cannot see that, and counts every call.

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
        for name in _NAMES:
            tensor = getattr(source, name)
            for copy in (name, f"coming_{name}"):
                self.register_buffer(copy, None if tensor is None else tensor.detach().clone())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=source.weight.device))
        self._version = -1  # of the layer's weights in the newest step

    @property
    def source(self) -> nn.Linear:
        """The layer that is copied."""
        return self._source[0]

    def forward(self, hidden: Tensor, *, biased: bool = True) -> Tensor:
        """Return `W h + b`, `[..., C]`, from `[..., D]`; or `W h` alone."""
        if hidden.dtype != self.weight.dtype and not torch.is_autocast_enabled(hidden.device.type):
            hidden = hidden.to(self.weight.dtype)
        return F.linear(hidden, self.weight, self.bias if biased else None)

    @property
    def held(self) -> list[tuple[Tensor, Tensor]]:
        """What is read now and what will be read next, of the weight and of the bias, if there is one."""
        pairs = [(getattr(self, name), getattr(self, f"coming_{name}")) for name in _NAMES]
        return [pair for pair in pairs if pair[0] is not None]

    @property
    def newest(self) -> tuple[Tensor, ...]:
        """The layer's own weight and bias, if there is one."""
        tensors = (getattr(self.source, name) for name in _NAMES)
        return tuple(tensor.detach() for tensor in tensors if tensor is not None)

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
        for (now, coming), newest in zip(self.held, self.newest, strict=True):
            torch.where(due, torch.where(first, newest, coming), now, out=now)
            torch.where(due, newest, coming, out=coming)
        self.steps += 1
