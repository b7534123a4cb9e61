"""PEPITA: a second forward pass, on inputs that the error has changed, tells each layer what to do (Dellaferrera et al. 2022)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from torchsid.core.layers import Layered
from torchsid.core.learner import Lock
from torchsid.core.rule import Batch, LayerRule, send_back
from torchsid.settings import NotNegative, checked


class PEPITA(LayerRule):
    """Trains linear layers by the difference between two forward passes.

        h_l = f(W_l h_{l−1} + b_l),  h_0 = x,  e = p − p_y;     h′_l likewise from  h′_0 = x + F e
        ∂L/∂W_l := (h_l − h′_l) h′_{l−1}ᵀ  for hidden layers,     ∂L/∂W_L = e′ h′_{L−1}ᵀ

    `F [n_0, C]` is drawn from `feedback · U(±√(6/n_0))` and never changes. A bias is a weight of an input that is always 1.
    Both passes have the same dropout masks. The reported loss and belief are those of the first.

    Source: G. Dellaferrera and G. Kreiman, ICML 2022, pages 4937 to 4955; their layers have no biases. Stored: the activations of
    both passes, and F. Locked: forward and update; no weights are transported. It cannot train convolutions and normalisations,
    nor networks of more than three to five layers.

    Args:
        network: the layers, which are linear.
        feedback: How far the error changes the input.
    """

    locks: ClassVar[frozenset[Lock]] = frozenset({"forward", "update"})
    linear_only: ClassVar[bool] = True

    @checked
    def __init__(self, network: Layered, *, feedback: NotNegative = 0.05) -> None:
        super().__init__(network)
        inputs = network.sizes[0].numel()
        bound = feedback * (6 / inputs) ** 0.5
        drawn = next(network.parameters()).detach().new_empty(network.num_classes, inputs).uniform_(-1, 1)
        network.register_buffer("feedback", bound * drawn)  # Fᵀ

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Run twice, and add the product of what has changed behind each layer and what the second pass brings to it."""
        x, masks = batch.x, dict[nn.Module, Tensor]()
        with torch.no_grad():
            _, clean = self.run(x, masks)
        e = clean[-1].softmax(-1) - batch.target
        feedback = self.module.get_buffer("feedback")
        a, changed = self.run(x + (e.to(feedback) @ feedback).view_as(x), masks)
        share = batch.share.unsqueeze(-1).to(clean[-1])
        hidden = [(h - h_changed) * share for h, h_changed in zip(clean[:-1], changed[:-1], strict=True)]
        send_back(a, [batch.scales[0] * delta for delta in (*hidden, batch.error(changed[-1]))])
        return [batch.cross_entropy(clean[-1])], clean[-1:]

    def run(self, h: Tensor, masks: dict[nn.Module, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return `a_l = W_l h_{l−1} + b_l`, each with a graph to its own weights alone, and `h_l`, detached.

        Dropout masks that are not there are drawn and kept.
        """
        a, outputs = [], []
        for layer in self.module.layers:
            for module in layer:
                if isinstance(module, _DropoutNd):
                    if module not in masks:
                        masks[module] = module(torch.ones_like(h))
                    h = h * masks[module]
                else:
                    h = module(h.detach())
                if isinstance(module, nn.Linear):
                    a.append(h)
            outputs.append(h.detach())
        return a, outputs
