"""Difference target propagation: learned inverses carry targets down, and every layer moves towards its own (Lee et al. 2015)."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import dropwhile
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from torchsid.core.layers import Layered
from torchsid.core.learner import Lock
from torchsid.core.rule import Batch, LayerRule, differentiate, send_back
from torchsid.settings import NotNegative, Positive, checked


class DifferenceTargetPropagation(LayerRule):
    """Trains linear layers towards targets, which learned inverse mappings carry from layer to layer.

        ĥ_{L−1} = h_{L−1} − η ∂C/∂h_{L−1},     ĥ_{l−1} = h_{l−1} − g_l(h_l) + g_l(ĥ_l)
        L_l = ‖f_l(h_{l−1}) − sg ĥ_l‖²,  l < L;  L_L = C, the cross-entropy
        L_l^inv = ‖g_l(sg f_l(h_{l−1} + ε)) − (h_{l−1} + ε)‖²,  ε ~ N(0, σ²),  l = 2 … L−1

    `g_l` is a linear layer with the activation of layer l−1. C is that of one sample, so that targets do not depend on the batch.

    Source: D.-H. Lee, S. Zhang, A. Fischer and Y. Bengio, ECML-PKDD 2015, arXiv 1412.7525. Stored: all activations. Locked:
    forward, update and backward; of the weights only the last layer's are transported. Simplified: every step has the gradients
    of both mappings, of the weights before it and from passes of their own, where the original trains them in alternate epochs;
    one optimiser serves both; the network begins as it is given, not orthogonal. It cannot train convolutions and normalisations.

    Args:
        network: the layers, which are linear.
        target_step: η, step along the gradient to the last hidden layer's target.
        noise: σ, standard deviation of the noise that inverses learn to undo.
    """

    locks: ClassVar[frozenset[Lock]] = frozenset({"forward", "update", "backward"})
    transports_weights: ClassVar[bool] = True  # the last layer's
    linear_only: ClassVar[bool] = True
    draws_noise: ClassVar[bool] = True

    @checked
    def __init__(self, network: Layered, *, target_step: Positive = 0.328, noise: NotNegative = 0.36) -> None:
        super().__init__(network)
        self.target_step, self.noise = target_step, noise
        like, widths = next(network.parameters()), [size.numel() for size in network.sizes]
        inverses = nn.ModuleList()
        for layer, before, after in zip(network.layers[:-2], widths[1:], widths[2:-1], strict=False):
            _, *behind = dropwhile(lambda each: not isinstance(each, nn.Linear), layer)
            kept = (deepcopy(each) for each in behind if not isinstance(each, _DropoutNd))
            inverses.append(nn.Sequential(nn.Linear(after, before), *kept))
        network.add_module("inverses", inverses.to(like.device, like.dtype))

    @property
    def inverses(self) -> list[nn.Module]:
        """The mappings `g_2 … g_{L−1}`."""
        return list(cast("nn.ModuleList", self.module.get_submodule("inverses")))

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Run forward, each layer with a graph of its own; carry targets down; let each mapping learn."""
        h, outputs = batch.x, []
        for layer in self.module.layers:
            outputs.append(h := layer(h.detach()))
        *hidden, logits = outputs
        share, e = batch.share.unsqueeze(-1), logits.detach().softmax(-1) - batch.target
        gaps = [h.detach() - target for h, target in zip(hidden, self.targets(hidden, e), strict=True)]
        send_back(outputs, [batch.scales[0] * gradient for gradient in (*(2 * share * gap for gap in gaps), batch.error(logits))])
        losses = [batch.mean(each) for each in self.inverse_losses(hidden)]
        if losses:
            differentiate(torch.stack(losses).sum(), batch.scales[0])
        return [batch.cross_entropy(logits)], [logits]

    @torch.no_grad()
    def targets(self, hidden: Sequence[Tensor], e: Tensor) -> list[Tensor]:
        """Return `ĥ_1 … ĥ_{L−1}`, given `h_1 … h_{L−1}` and the error `p − p_y`, `[B, C]`."""
        weight = cast("Tensor", self.module.layers[-1][-1].weight)
        targets = [hidden[-1] - self.target_step * (e.to(weight) @ weight)]
        for g, before, after in zip(self.inverses[::-1], hidden[-2::-1], hidden[:0:-1], strict=True):
            targets.insert(0, before - g(after) + g(targets[0]))
        return targets

    def inverse_losses(self, hidden: Sequence[Tensor]) -> list[Tensor]:
        """Return how far each inverse is from carrying noisy activities back, `[B]` each."""
        losses = []
        for g, layer, h in zip(self.inverses, self.module.layers[1:-1], hidden[:-1], strict=True):
            with torch.no_grad():
                noisy = h + self.noise * torch.randn_like(h)
                after = layer(noisy)
            losses.append((g(after) - noisy).square().sum(-1))
        return losses
