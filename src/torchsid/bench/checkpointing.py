"""Activation checkpointing, the usual way to save memory: keep the inputs of a few pieces, and compute the rest once more."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from torchsid.cut.graph import GraphSegments


class Checkpointed(nn.Module):
    """A classifier whose pieces run under `torch.utils.checkpoint`, all but the last, as in `checkpoint_sequential`.

    Its gradients are the model's. Running statistics (BatchNorm) are updated twice a step.

    Args:
        model: the classifier.
        cuts: names of the submodules after which to cut.

    Raises:
        CutError: the model cannot be traced, or not be cut there.
    """

    def __init__(self, model: nn.Module, cuts: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.segments = GraphSegments(model, cuts)
        self.reentrant = False
        """The older implementation: the same work, but in sight of saved-tensor hooks, as measuring kept bytes needs."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits `[B, C]`."""
        *pieces, last = self.segments.modules
        if self.reentrant and torch.is_grad_enabled():
            x = x.detach().requires_grad_()  # without an input to differentiate, it would leave the parameters without gradient
        values: tuple[Tensor, ...] = (x,)
        for piece in pieces:
            values = checkpoint(piece, *values, use_reentrant=self.reentrant)
        logits: Tensor = last(*values)
        return logits
