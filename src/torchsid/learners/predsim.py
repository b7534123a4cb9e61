"""Prediction and similarity matching: every stage predicts the class and makes classes alike or not (Nøkland and Eidnes 2019)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.rule import Batch, StageRule
from torchsid.core.staged import StagedCascade
from torchsid.settings import Weight, checked


class PredSim(StageRule):
    """Trains every stage but the last on two losses, and the last, which answers, on the first alone.

        L_i = (1−β) · KL(p_y ‖ softmax(g_i(h_i))) + β · mean_ab (S(f_i(h_i)) − S(y))²_ab
        S(h)_ab = cos(h_a − mean h_a, h_b − mean h_b)

    S compares the samples a and b of a batch, each less the mean over its own features. `f_i` is linear, or on maps a 3x3
    convolution, without bias; of maps and tokens S compares the standard deviation of each channel over the positions. In the paper
    `g_i` is linear, `model.head = "linear"`. With weights a pair of samples counts by the product of theirs.

    Source: A. Nøkland and L. H. Eidnes, arXiv 1901.06656, ICML 2019. Stored: one stage and its head. Locked: forward.
    Simplified: a stage hands on its output from before its update with the dropout of the trunk, and learns from that too;
    the last loss has no factor 1−β, to which Adam, the paper's optimiser, is invariant. A batch of one sample has nothing
    to compare.

    Args:
        cascade: a staged cascade.
        beta: Weight β of the similarity.
    """

    takes_positions = False

    @checked
    def __init__(self, cascade: StagedCascade, *, beta: Weight = 0.99) -> None:
        super().__init__(cascade)
        self.beta = beta
        self.maps = self.add_to_heads("similarity", lambda stage, features: _square(features) if beta else None)

    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return `L_i`; `features` are `h_i`."""
        prediction = batch.cross_entropy(logits)
        if self.beta == 0 or stage == self.module.depth - 1:
            return prediction
        made = self.maps[stage](features)
        with torch.autocast(features.device.type, enabled=False):
            wrong = (similarity(made.to(batch.target)) - similarity(batch.target)).square()
            pairs = batch.share.unsqueeze(1) * batch.share
            matching = (wrong.masked_fill(pairs == 0, 0.0) * pairs).sum()
        return (1 - self.beta) * prediction + self.beta * matching


def similarity(features: Tensor) -> Tensor:
    """Return the cosine between every two samples, `[B, B]`, of vectors, tokens or maps, each less its mean."""
    vectors = features
    if features.dim() > 2:
        channels = features.flatten(2) if features.dim() == 4 else features.transpose(1, 2)  # [B, C, positions]
        vectors = channels.std(2) if channels.shape[2] > 1 else channels.squeeze(2)
    unit = F.normalize(vectors - vectors.mean(1, keepdim=True), dim=1)
    return unit @ unit.T


def _square(shape: torch.Size) -> nn.Module:
    """Return f for features of a shape: as many channels as it reads."""
    if len(shape) == 3:
        return nn.Conv2d(shape[0], shape[0], 3, padding=1, bias=False)
    return nn.Linear(shape[-1], shape[-1], bias=False)
