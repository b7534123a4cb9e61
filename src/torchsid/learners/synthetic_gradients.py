"""Synthetic gradients (DNI): every layer learns at once from a prediction of the gradient to come (Jaderberg et al. 2017)."""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from torchsid.core.layers import Layered
from torchsid.core.pitfalls import Lookout
from torchsid.core.rule import Batch, LayerRule, differentiate, send_back
from torchsid.settings import Count, checked


class Synthesiser(nn.Module):
    """Predicts a gradient from activities `[B, n]` and, where it is conditioned, the target `[B, C]`; 0 at first.

    Args:
        features: n.
        classes: C where it reads the target, else 0.
        width: of its hidden layers.
        layers: their number.
    """

    def __init__(self, features: int, classes: int, *, width: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, width)
        self.target = nn.Linear(classes, width, bias=False) if classes else None
        behind = (part for _ in range(layers - 1) for part in (nn.Linear(width, width), nn.ReLU()))
        self.behind = nn.Sequential(nn.ReLU(), *behind, nn.Linear(width, features))
        nn.init.zeros_(cast("Tensor", self.behind[-1].weight))
        nn.init.zeros_(cast("Tensor", self.behind[-1].bias))

    def forward(self, h: Tensor, target: Tensor) -> Tensor:
        """Return the prediction, `[B, n]`."""
        a = self.first(h)
        if self.target is not None:
            a = a + self.target(target.to(h.dtype))
        gradient: Tensor = self.behind(a)
        return gradient


class SyntheticGradients(LayerRule):
    """Trains every layer by the gradient that a synthesiser predicts, and the synthesiser by the gradient of the next layer.

        ĝ_l = s_l(sg h_l),  l < L;  ĝ_L = p − p_y;     ∂L/∂W_l := (∂h_l/∂W_l)ᵀ ĝ_l
        g_l = (∂h_{l+1}/∂h_l)ᵀ ĝ_{l+1};     L_l^syn = ‖ĝ_l − sg g_l‖²

    So `s_l` is bootstrapped by `s_{l+1}`; the true loss is known at the top alone. Conditioned (cDNI), `s_l` reads the target as
    well. Gradients are those of one sample's loss, so that predictions do not depend on the size of a batch.

    Source: M. Jaderberg et al., arXiv 1608.05343, ICML 2017. Stored: here all activations, though each layer needs only its own
    and what comes back from the next; and the synthesisers. Locked: forward. Simplified: inputs are not synthesised;
    synthesisers are perceptrons without normalisation, on flat features. The gradients of the first L − 1 steps are partly
    zero, as the synthesisers' last layers are. Many boundaries, or convolutions with many features, are more than the
    synthesisers can learn.

    Args:
        network: the layers.
        condition: What the synthesisers read besides activities: nothing, or the target (cDNI).
        synthesiser_width: Width of their hidden layers.
        synthesiser_layers: Number of these.
    """

    @checked
    def __init__(
        self,
        network: Layered,
        *,
        condition: Literal["none", "target"] = "none",
        synthesiser_width: Count = 256,
        synthesiser_layers: Count = 1,
    ) -> None:
        super().__init__(network)
        like, classes = next(network.parameters()), network.num_classes if condition == "target" else 0
        made = (
            Synthesiser(size.numel(), classes, width=synthesiser_width, layers=synthesiser_layers) for size in network.sizes[1:-1]
        )
        network.add_module("synthesisers", nn.ModuleList(made).to(like.device, like.dtype))
        self.lookout = Lookout(network, idle_steps=self.idle_steps)

    @property
    def idle_steps(self) -> int:
        """See `Learner.idle_steps`: from the top down each synthesiser begins to move when the next one has."""
        return self.module.depth - 1

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Run forward, each layer with a graph of its own; differentiate each as predicted, and the predictions' errors."""
        h, inputs, outputs = batch.x, list[Tensor](), list[Tensor]()
        for layer in self.module.layers:
            inputs.append(h.detach().requires_grad_() if outputs else h)
            outputs.append(h := layer(inputs[-1]))
        *hidden, logits = outputs
        synthesisers = cast("nn.ModuleList", self.module.get_submodule("synthesisers"))
        synthetic = [s(h.detach().flatten(1), batch.target) for s, h in zip(synthesisers, hidden, strict=True)]
        unit = batch.scales[0] * batch.share.unsqueeze(-1)  # of a sample's gradient
        gradients = [*((unit * each.detach()).view_as(h) for each, h in zip(synthetic, hidden, strict=True))]
        send_back(outputs, [*gradients, batch.scales[0] * batch.error(logits)])
        losses = []
        for predicted, h in zip(synthetic, inputs[1:], strict=True):
            assert h.grad is not None
            arrived = (h.grad.flatten(1) / unit).masked_fill(unit == 0, 0.0)
            losses.append(batch.mean((predicted - arrived).square().sum(-1)))
        differentiate(torch.stack(losses).sum(), batch.scales[0])
        return [batch.cross_entropy(logits)], [logits]
