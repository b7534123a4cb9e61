"""MAN: every stage is judged through a moving average of the next one's first layer (Su et al. 2024)."""

from collections.abc import Sequence

from torch import Tensor

from torchsid.core.rule import Batch, StageRule
from torchsid.core.staged import StagedCascade
from torchsid.settings import Weight, checked


class MAN(StageRule):
    """Trains every stage on the cross-entropy of a head that begins with a moving average of the next stage's first layer.

        L_i = KL(p_y ‖ softmax(g_i(a_i(h_i) + b_i(h_i)))),   γ_i ← m·γ_i + (1−m)·θ_{i+1} after every `backward`

    `θ_{i+1}` are the weights of the first layer behind the cut, `a_i` is that layer with the weights `γ_i`, `b_i` the same layer
    with weights that are trained for the head. Gradients pass through `a_i` to the features, without changing it or the next
    stage. The heads are `model.head = "momentum"`, in which `g_i` is the head of DGL. If gradients of several batches are
    accumulated, the average moves with each.

    Source: J. Su et al., arXiv 2407.05623, ECCV 2024, as released; the paper itself has a learned bias instead of `b_i`.
    Stored: one stage and its head. Locked: forward; stages send weights back once per step. The last stage follows none. It
    needs a trunk with a layer between the last cut and the classifier.

    Args:
        cascade: a staged cascade with heads `momentum`.
        momentum: m.
    """

    transports_weights = True
    moves_buffers = True
    head = "momentum"

    @checked
    def __init__(self, cascade: StagedCascade, *, momentum: Weight = 0.995) -> None:
        super().__init__(cascade)
        self.momentum = momentum

    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the head's answer."""
        return batch.cross_entropy(logits)

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Let the stages learn, then the averages follow."""
        learnt = super().learn(batch)
        for head in self.module.heads[:-1]:
            head.body.follow(self.momentum)  # type: ignore[operator, union-attr]
        return learnt
