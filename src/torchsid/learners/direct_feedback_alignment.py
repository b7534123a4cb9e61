"""Direct feedback alignment: the output's error reaches every layer through a random matrix of its own (Nøkland 2016)."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from torchsid.core.layers import Layered
from torchsid.core.learner import Lock
from torchsid.core.rule import Batch, LayerRule, send_back


class DirectFeedbackAlignment(LayerRule):
    """Trains a sequence of layers: every hidden one gets the output's error through a fixed random matrix.

        e = p − p_y;     ∂L/∂h_l := e B_l,  B_l [C, n_l];     ∂L/∂W_l = (e B_l ⊙ f′(a_l))ᵀ h_{l−1}

    The last layer has its exact gradient. `B_l` is drawn from `U(±1/√n_l)` and never changes. Behind a convolution the error
    arrives where its activation and pooling end.

    Source: A. Nøkland, arXiv 1609.01596, NeurIPS 2016. Stored: all activations, and B. Locked: forward and update; no weights are
    transported. It cannot train deep convolutional networks.

    Args:
        network: the layers.
    """

    locks: ClassVar[frozenset[Lock]] = frozenset({"forward", "update"})
    gain: ClassVar[float] = 1.0
    """What the matrices are drawn from: `U(±gain/√n_l)`."""

    def __init__(self, network: Layered) -> None:
        super().__init__(network)
        for i, size in enumerate(network.sizes[1:-1]):
            bound = self.gain * size.numel() ** -0.5
            feedback = next(network.parameters()).new_empty(network.num_classes, size.numel()).uniform_(-bound, bound)
            network.register_buffer(f"feedback_{i}", feedback.detach())

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Run forward, each layer with a graph of its own, and send every layer the error."""
        h, outputs = batch.x, []
        for layer in self.module.layers:
            outputs.append(h := layer(h.detach()))
        signal = self.signal(batch, h)
        arriving = [(signal @ self.module.get_buffer(f"feedback_{i}")).view_as(h) for i, h in enumerate(outputs[:-1])]
        send_back(outputs, [batch.scales[0] * gradient for gradient in (*arriving, batch.error(h))])
        return [batch.cross_entropy(h)], [h]

    def signal(self, batch: Batch, logits: Tensor) -> Tensor:
        """Return what every hidden layer gets through its matrix, `[B, C]`; already multiplied by the shares."""
        return batch.error(logits)
