"""SigProp: targets go forward through the same layers, and every layer brings a sample close to its target (Kohan et al. 2022)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from torchsid.core.layers import Layered
from torchsid.core.learner import Lock
from torchsid.core.rule import Batch, LayerRule


class SigProp(LayerRule):
    """Trains a sequence of layers by comparing each one's outputs for the samples and for their targets.

        h_l = f_l(sg(h_{l−1})),   t_1 = ReLU(LayerNorm(T y)),   t_l = f_l(sg(t_{l−1})) for l > 1
        s_ij = h_l(x_i) · t_l(y_j) / positions;      L_l = −Σ_i log Σ_{j: y_j = y_i} exp(s_ij) / Σ_j exp(s_ij), as a mean

    T makes a target of the shape of the first hidden layer's output, and learns with that layer; the last layer learns from the
    cross-entropy. Samples of one class have one target, so that the sums over j are sums over classes, weighed by how often each
    is in the batch: they are no negatives of each other.

    Source: A. Kohan, E. Rietman and H. Siegelmann, arXiv 2204.01723. Stored: one layer, for the samples and C targets. Locked:
    forward. Simplified: which samples belong together is read from the labels, not from products of the targets. A normalisation
    over the batch sees the targets too.

    Args:
        network: the layers.
    """

    locks: ClassVar[frozenset[Lock]] = frozenset({"forward"})
    window: int | None = 1

    def __init__(self, network: Layered) -> None:
        super().__init__(network)
        size, like = network.sizes[1], next(network.parameters())
        parts = nn.Linear(network.num_classes, size.numel()), nn.LayerNorm(size.numel()), nn.ReLU(), nn.Unflatten(1, size)
        network.add_module("target", nn.Sequential(*parts).to(like.device, like.dtype))

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Run samples and targets through the layers, each of which learns from how well these fit."""
        (*hidden, last), network = self.module.layers, self.module
        classes, losses = torch.eye(network.num_classes, dtype=batch.target.dtype, device=batch.target.device), list[Tensor]()
        often = batch.share @ batch.target  # of the batch, that each class is
        log_often = often.clamp(min=torch.finfo(often.dtype).tiny).log()
        h, t = batch.x, network.get_submodule("target")(classes.to(next(network.parameters()).dtype))
        for i, layer in enumerate(hidden):
            h, t = (layer(h), t) if i == 0 else layer(torch.cat([h, t]).detach()).split([len(h), len(t)])
            loss = batch.cross_entropy(similarity(h, t) + log_often)
            batch.differentiate(i, loss)
            losses.append(loss)
        logits = last(h.detach())
        loss = batch.cross_entropy(logits)
        batch.differentiate(-1, loss)
        return [*losses, loss], [logits]


def similarity(h: Tensor, t: Tensor) -> Tensor:
    """Return the products of activities `[B, n, ...]` with those of targets `[C, n, ...]`, as means over positions, `[B, C]`."""
    return h.flatten(1) @ t.flatten(1).T / h[0, 0].numel()
