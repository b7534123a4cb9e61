"""Sign symmetry: errors go back through weights that share the signs of the forward ones (Liao et al. 2016)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from torchsid.learners.feedback_alignment import FeedbackAlignment
from torchsid.settings import checked

Magnitudes = Literal["uniform", "batchwise", "fixed"]


class SignSymmetry(FeedbackAlignment):
    """Trains like feedback alignment, through `V` with the signs of the weights, as they are at each step.

    * uniform (uSF): `V = s · sign(W)`, `s = sqrt(2 / (fan_in + fan_out))`.
    * batchwise (brSF): `V = |M| ⊙ sign(W)`, M drawn anew at each step.
    * fixed (frSF): the same, M drawn once.

    Source: Q. Liao, J. Leibo and T. Poggio, arXiv 1510.05067, AAAI 2016; M and s are Xavier's, as in S. Sanfiz and M. Akrout, arXiv
    2108.13446. Simplified: no batch Manhattan updates. Stored and locked as feedback alignment; the signs of the weights are
    transported.

    Args:
        module: as for `FeedbackAlignment`.
        magnitudes: The magnitudes beside the signs.
    """

    transports_weights: ClassVar[bool] = True  # of each, the sign

    @checked
    def __init__(self, module: nn.Module, *, magnitudes: Magnitudes = "uniform") -> None:
        super().__init__(module)
        self.magnitudes = magnitudes
        for feedback in self.module.feedback:
            nn.init.xavier_uniform_(feedback)

    def weights_back(self) -> list[Tensor]:
        """Return V, one tensor a layer."""
        with torch.no_grad():
            sizes = map(self._sizes, self.module.feedback)
            return [size * layer.weight.sign() for size, layer in zip(sizes, self.module.layers, strict=True)]

    def _sizes(self, drawn: Tensor) -> Tensor:
        """Return what stands beside the signs; `drawn` is M as it was drawn once."""
        if self.magnitudes == "fixed":
            return drawn.abs()
        if self.magnitudes == "batchwise":
            return nn.init.xavier_uniform_(torch.empty_like(drawn)).abs()
        fans = drawn[0].numel() + drawn[:, 0].numel()
        return drawn.new_tensor((2 / fans) ** 0.5)
