"""Direct random target projection: every hidden layer gets the target through a random matrix (Frenkel et al. 2021)."""

from typing import ClassVar

from torch import Tensor

from torchsid.core.learner import Lock
from torchsid.core.rule import Batch
from torchsid.learners.direct_feedback_alignment import DirectFeedbackAlignment


class DirectRandomTargetProjection(DirectFeedbackAlignment):
    """Trains like direct feedback alignment, but sends the hidden layers the target instead of the error.

        ∂L/∂h_l := p_y B_l;     ∂L/∂W_l = (p_y B_l ⊙ f′(a_l))ᵀ h_{l−1}

    A hidden layer can update as soon as it has answered. The last layer has its exact gradient. `B_l` is drawn from
    `U(±√(6/n_l))` and never changes. Probability rows are projected as classes are.

    Source: C. Frenkel, M. Lefebvre and D. Bol, Frontiers in Neuroscience 15:629892, 2021; the sign is that of their code, and
    B is as symmetric as it is random. Stored: here all activations, though each layer needs only its own; and B. Locked: forward;
    no weights are transported. Simplified: the last layer has softmax and cross-entropy, not sigmoids. It cannot train deep
    networks: a hidden layer's signal does not depend on the network's answer.

    Args:
        network: the layers.
    """

    locks: ClassVar[frozenset[Lock]] = frozenset({"forward"})
    gain: ClassVar[float] = 6**0.5

    def signal(self, batch: Batch, logits: Tensor) -> Tensor:
        """Return the target of each sample, `[B, C]`."""
        return batch.target.to(logits.dtype) * batch.share.unsqueeze(-1).to(logits.dtype)
