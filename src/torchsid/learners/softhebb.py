"""SoftHebb: layers whose units compete softly for each input, without labels; a linear readout with them (Journé et al. 2023)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.layers import Layered
from torchsid.core.learner import Lock
from torchsid.core.rule import Batch, LayerRule
from torchsid.settings import Positive, checked

_TINY = 1e-30


class SoftHebb(LayerRule):
    """Trains the hidden layers of a sequence without labels, by local plasticity, and the last one with labels.

        u = W x;   y = softmax_c(τ u), but −y for all units except the one with the largest u
        ΔW_c = |‖W_c‖ − 1|^½ · Σ y_c (x − u_c W_c) / max|Σ y (x − u W)|

    The sums run over samples and, of a convolution, positions. `−ΔW` is the gradient, so that plain SGD with the learning rate η
    makes the paper's step; the adaptive rate `|‖W_c‖ − 1|^½` is within it. A hidden layer's loss is the mean entropy of its y, of
    which it is not the gradient.

    Source: A. Journé, H. Garcia Rodriguez, Q. Guo and T. Moraitis, ICLR 2023 (arXiv 2209.11883). There layers normalise their input
    and have a power of ReLU (u − mean) behind them. Stored: nothing of other layers. Locked: forward. Simplified: all layers learn
    at the same time, readout included, at the same learning rate and with one τ. Hidden weights are drawn anew, of norm `radius`;
    biases are 0, and they and all other parameters of hidden layers frozen. It cannot learn hidden features for a task.

    Args:
        network: the layers, hidden ones with one linear layer or convolution each.
        sharpness: How hard units compete, τ.
        radius: Initial norm of hidden weights.

    Raises:
        ValueError: a hidden layer is of another kind.
    """

    locks: ClassVar[frozenset[Lock]] = frozenset({"forward"})
    window: int | None = 1

    @checked
    def __init__(self, network: Layered, *, sharpness: Positive = 1.0, radius: Positive = 25.0) -> None:
        super().__init__(network)
        self.sharpness = sharpness
        found = [_parts(layer) for layer in network.layers[:-1]]
        self.parts = [each for each in found if each]
        if wrong := [str(i) for i, each in enumerate(found, 1) if each is None]:
            raise ValueError(f"SoftHebb trains linear layers and convolutions of images, and layer {', '.join(wrong)} is another")
        for layer, (_, competing, _) in zip(network.layers, self.parts, strict=False):
            layer.requires_grad_(False)
            competing.weight.requires_grad_(True)
            nn.init.normal_(competing.weight, std=radius / competing.weight[0].numel() ** 0.5)
            if competing.bias is not None:
                nn.init.zeros_(competing.bias)

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Add each hidden layer's plasticity, and what the cross-entropy says to the last."""
        h, losses = batch.x, list[Tensor]()
        for i, (before, competing, behind) in enumerate(self.parts):
            u = competing(before(h.detach()))
            if (weight := competing.weight).requires_grad:
                change = batch.scales[i].to(weight) * self.change(weight, u, batch)
                weight.grad = -change if weight.grad is None else weight.grad - change
            log_y = self.competition(u.detach())
            losses.append(batch.mean(-(log_y.exp() * log_y).sum(1).reshape(len(u), -1).mean(1)))
            h = behind(u.detach())
        logits = self.module.layers[-1](h.detach())
        loss = batch.cross_entropy(logits)
        batch.differentiate(-1, loss)
        return [*losses, loss], [logits]

    def competition(self, u: Tensor) -> Tensor:
        """Return `log y` of each unit, `[B, n, ...]`, given `u = W x`."""
        return (self.sharpness * u).log_softmax(1)

    def change(self, weight: Tensor, u: Tensor, batch: Batch) -> Tensor:
        """Return `ΔW`, given the products `u = W x`, `[B, n, ...]`, with the graph that made them."""
        with torch.no_grad():
            y = self.competition(u).exp()
            wins = F.one_hot(u.argmax(1), u.shape[1]).movedim(-1, 1).bool()
            counts = batch.share.to(u).view(-1, *[1] * (u.dim() - 1))
            signed = torch.where(wins, y, -y) * counts
        (brought,) = torch.autograd.grad(u, weight, signed)  # Σ y x
        with torch.no_grad():
            per_unit = (-1, *[1] * (weight.dim() - 1))
            taken = (signed * u).movedim(1, 0).flatten(1).sum(1).view(per_unit) * weight
            change = brought - taken
            rate = (weight.flatten(1).norm(dim=1) - 1).abs().sqrt().view(per_unit)
            step: Tensor = rate * change / change.abs().max().clamp(min=_TINY)
        return step


def _parts(layer: nn.Sequential) -> tuple[Any, Any, Any] | None:
    """Return what stands before the part that competes, this itself, and what is behind; None if that is none it could be."""
    mixing = [i for i, module in enumerate(layer) if any(parameter.dim() > 1 for parameter in module.parameters())]
    competing = layer[mixing[0]]
    known = len(mixing) == 1 and isinstance(competing, nn.Linear | nn.Conv2d)
    return (layer[: mixing[0]], competing, layer[mixing[0] + 1 :]) if known else None
