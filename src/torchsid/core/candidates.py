"""The outcomes that a stage tells apart in one step, where telling all apart would cost it more than all else that it does.

    U = the batch's outcomes,   E = n of the others, drawn evenly,   |V∖U| of them:
    Σ_V exp z_j  ≈  Σ_U exp z_j + |V∖U|/n · Σ_E exp z_j

The right side has the left one for its mean, so each of E stands for |V∖U|/n outcomes: that number's logarithm is added to its
logit. What is frequent is in the batch and counted without chance; chance is left to what is rare.

Source: sampled softmax (Jean et al., ACL 2015, arXiv 1412.2007), there with a fixed set of others for a part of the corpus.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from torchsid.core.lazy_logits import LazyLogits


@dataclass(frozen=True)
class Candidates:
    """Some of V outcomes, the batch's among them.

    Attributes:
        outcomes: which, int64 `[k]`.
        stand_for: the logarithm of how many outcomes each stands for, `[k]`.
        places: of the batch's targets among them, int64 `[...]`.
    """

    outcomes: Tensor
    stand_for: Tensor
    places: Tensor

    @classmethod
    def draw(cls, target: Tensor, others: int, num_classes: int) -> "Candidates":
        """Return those of the targets, int64 `[...]`, and so many others, or all that there are, by PyTorch's generator."""
        here = torch.zeros(num_classes, dtype=torch.bool, device=target.device)
        here[target.flatten()] = True
        (own,), (rest,) = here.nonzero(as_tuple=True), (~here).nonzero(as_tuple=True)
        drawn = rest[torch.randperm(len(rest), device=rest.device)[:others]]
        outcomes = torch.cat([own, drawn])
        stand_for = torch.ones(len(outcomes), dtype=torch.float64, device=target.device)
        stand_for[len(own) :] = len(rest) / max(len(drawn), 1)
        place = torch.empty_like(here, dtype=torch.int64)
        place[outcomes] = torch.arange(len(outcomes), device=target.device)
        return cls(outcomes, stand_for.log_(), place[target])

    def of(self, logits: LazyLogits) -> LazyLogits:
        """Return the logits `[..., k]` of them alone, each with the logarithm of how many it stands for."""
        stand_for = self.stand_for.to(logits.weight)
        bias = stand_for if logits.bias is None else stand_for + logits.bias[self.outcomes]
        return LazyLogits(logits.hidden, logits.weight[self.outcomes], bias)
