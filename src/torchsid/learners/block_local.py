"""Block-local learning, our reading: messages from the input and from the label meet at every stage (Kappel et al. 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torchsid.core.beliefs import expectation, kl, to_log_belief
from torchsid.core.rule import Batch, StageRule
from torchsid.core.staged import StagedCascade
from torchsid.settings import Positive, checked


class BlockLocal(StageRule):
    """Trains every stage so that its belief comes close to the posterior that the label allows. Our reading.

        α_i(z) = p_i(z),   β_i(z; y) = Σ_z' T_i(z, z') · sg β_{i+1}(z'; y),   β_L = I,   ρ_i(z) ∝ α_i(z) · β_i(z; y)
        L_i = KL(sg ρ_i ‖ α_i) − E_{z ~ sg ρ_i} ln β_i(z; y),   i < L;      L_L = KL(p_y ‖ p_L)

    `z_i` is a class, latent after stage i. `α_i`, the forward message, is the belief of its head. `β_i`, the backward message,
    is the probability of the label given `z_i`: a feedback network leads from the label to every stage by one stochastic matrix
    per stage, `T_i = softmax(G_i)`, which that stage trains, and which shares nothing with the weights forward. The natural
    parameters of the posterior `ρ_i` are the sum of both. `L_i` has the value and the gradient of `−ln Σ_z α_i(z) β_i(z; y)`,
    of which it is the variational bound. The T begin near the identity, so that z means y; were they the identity, this would
    be DGL. Inference goes forward alone.

    Source: D. Kappel et al., arXiv 2305.14974 (2023), PML4LRS at ICLR 2024, without code. Not known, and ours: the exact losses,
    the direction of the KL, the family of `z` (theirs is any exponential one), the feedback network. Stored: one stage and its
    head. Locked: forward. Simplified: no bootstrapping of the posterior. It learns from classes, not from probability rows.

    Args:
        cascade: a staged cascade.
        trust: What the diagonals of the G begin with, in nats: how much likelier T leads from a class to itself than to another.
    """

    needs_classes = True

    @checked
    def __init__(self, cascade: StagedCascade, *, trust: Positive = 6.0) -> None:
        super().__init__(cascade)
        self.feedback = self.add_to_heads("feedback", lambda *_: Feedback(cascade.num_classes, trust))

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Send the messages back from the label, then let the stages learn."""
        message = torch.eye(self.module.num_classes).to(batch.log_target)
        self.log_messages = list[Tensor]()  # ln β_i, [z, y], of the last stage first
        for feedback in reversed(self.feedback):
            message = feedback(message.detach())
            self.log_messages.append(message.log())
        self.log_messages.reverse()
        return super().learn(batch)

    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return `L_i`."""
        if stage == self.module.depth - 1:
            return batch.cross_entropy(logits)
        log_forward = to_log_belief(logits).to(batch.log_target)
        log_backward = self.log_messages[stage].T[batch.log_target.argmax(-1)]
        log_posterior = (log_forward + log_backward).log_softmax(-1).detach()
        return batch.mean(kl(log_posterior, log_forward) - expectation(log_posterior, log_backward))


class Feedback(nn.Module):
    """A stochastic matrix `softmax(G)` through which a message goes one stage back."""

    def __init__(self, classes: int, trust: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(trust * torch.eye(classes))

    def forward(self, message: Tensor) -> Tensor:
        """Return `β(z; y) = Σ_z' T(z, z') β(z'; y)`, `[C, C]`, from the message of the next stage."""
        return self.logits.softmax(-1).to(message) @ message
