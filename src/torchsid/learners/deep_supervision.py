"""A loss at every stage of a cascade, differentiated through the whole network (Lee et al. 2015)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from torchsid.core.beliefs import forward_kl, mean
from torchsid.core.cascade import as_cascade
from torchsid.core.shared import SharedCascade
from torchsid.learners.backprop import Backprop
from torchsid.settings import Weight


class DeepSupervision(Backprop):
    """Trains a cascade end to end with a loss at every stage.

        L = (1/L) Σ_i KL(p_y ‖ p_i),     i = 1 … L

    Nothing is detached: `KL(p_y ‖ p_i)` is differentiated through the beliefs `p_{i−1} … p_1` as well, and into the extractor. SID
    with α = 1 has the same losses, and cuts the chain of beliefs before each stage. Every graph is kept until the backward pass.

    `stage_losses` of what `backward` returns is `KL(p_y ‖ p_i)`, `[L]`, whose mean is differentiated; a `scale` may weigh the
    stages, `[L]`.

    Source: C.-Y. Lee et al., arXiv 1409.5185, AISTATS 2015; there the losses of hidden layers fade during
    training, here all count the same.

    Args:
        cascade: a shared cascade. A staged one has `SID(cascade, window=cascade.depth)` for this.

    Raises:
        ValueError: the network is no `Cascade`, or `label_smoothing` is out of range.
    """

    networks: ClassVar[tuple[str, ...]] = ("cascade",)
    trains_stages: ClassVar[bool] = True

    def __init__(self, cascade: nn.Module, *, label_smoothing: Weight = 0.0) -> None:
        if not isinstance(as_cascade(cascade, "DeepSupervision"), SharedCascade):
            way_out = "for a staged one use SID(cascade, window=cascade.depth)"
            raise ValueError(f"DeepSupervision trains the stages of a SharedCascade: {way_out}")
        super().__init__(cascade, label_smoothing=label_smoothing)

    def stage_losses(self, log_beliefs: Tensor, log_target: Tensor, samples: Tensor | None, weight: Tensor | None) -> Tensor:
        """Return `KL(p_y ‖ p_i)` of every stage, mean over the batch, `[L]`."""
        return torch.stack([mean(losses, weight) for losses in forward_kl(log_beliefs[1:], log_target)])
