"""Decoupled greedy learning: every stage by the cross-entropy of a head of its own (Belilovsky et al. 2020)."""

from torch import Tensor

from torchsid.core.rule import Batch, StageRule


class DGL(StageRule):
    """Trains every stage of a cut classifier, and its head, on the cross-entropy alone.

        L_i = KL(p_y ‖ softmax(g_i(h_i))),   h_i = f_i(sg(h_{i−1}))

    The heads of the paper are `model.head = "mlp-sr"`. SID with α = 1 has the same losses; there a head reads the previous belief.

    Source: E. Belilovsky, M. Eickenberg and E. Oyallon, arXiv 1901.08164, ICML 2020. Stored: one stage and its head. Locked:
    forward. Simplified: the stages of a step update after each other, not with replay buffers on several machines. No stage
    sees further than its own head.

    Args:
        cascade: a staged cascade.
    """

    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the head's answer."""
        return batch.cross_entropy(logits)
