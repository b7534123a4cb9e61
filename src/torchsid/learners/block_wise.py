"""Block-wise training: pooling, a linear layer and a loss behind every block (Cheng et al. 2024)."""

from typing import Literal

from torch import Tensor

from torchsid.core.rule import Batch, StageRule
from torchsid.core.staged import StagedCascade
from torchsid.settings import checked


class BlockWise(StageRule):
    """Trains every stage of a cut classifier on the cross-entropy of the mean of its features and a linear layer.

        L_i = KL(p_y ‖ softmax(W_i · mean(h_i) + b_i)),   h_i = f_i(h_{i−1}) or f_i(sg(h_{i−1}))

    * `version = "paper"`: gradients stay within their block, `sg(h_{i−1})`. That is DGL with `model.head = "linear"`.
    * `version = "released"`: the published code detaches nothing. Every loss reaches the input: it is deep supervision, not local,
      keeps every graph, and the class says so by its `window`. This probably explains the published accuracies.

    Source: A. Cheng et al., arXiv 2312.13311, ICASSP 2024. Stored: one stage and its head, or the whole network. Locked: forward;
    as released, everything. Simplified: the linear layers have an output a class, those of the code always 1000.

    Args:
        cascade: a staged cascade with linear heads.
        version: `paper` or `released`.
    """

    head = "linear"

    @checked
    def __init__(self, cascade: StagedCascade, *, version: Literal["paper", "released"] = "paper") -> None:
        super().__init__(cascade)
        if version == "released":
            self.window = cascade.depth

    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the head's answer."""
        return batch.cross_entropy(logits)
