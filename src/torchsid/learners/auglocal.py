"""AugLocal: every stage is judged through layers like those that will read its features (Ma et al. 2024)."""

from torch import Tensor

from torchsid.core.rule import Batch, StageRule


class AugLocal(StageRule):
    """Trains every stage of a cut classifier on the cross-entropy of a head that resembles the rest of the trunk.

        L_i = KL(p_y ‖ softmax(g_i(h_i))),   g_i: d_i fresh copies of layers after stage i, evenly chosen, mean, linear

    The loss is that of DGL; the method is its heads, `model.head = "augmented"`, whose depth `model.head_layers` falls from stage
    to stage by `model.head_taper`. `model.max_head_share` must allow them: the paper's heads cost more than the stages.

    Source: C. Ma et al., arXiv 2402.17318, ICLR 2024. Stored: one stage and its head. Locked: forward. Simplified: a stage is what
    the cuts make it; in the paper a residual block, except the last, which has as many as a head. It needs a trunk with a layer
    between the last cut and the classifier.

    Args:
        cascade: a staged cascade with heads `augmented`.
    """

    head = "augmented"

    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the head's answer."""
        return batch.cross_entropy(logits)
