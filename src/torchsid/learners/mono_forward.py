"""Mono-Forward: every layer by the cross-entropy of a learned projection of its activity to classes (Gong et al. 2025)."""

from typing import Literal

from torchsid.core.answering import AnsweringLayers, AnsweringRule, Together, projections
from torchsid.core.layers import Layered
from torchsid.core.rule import check_layers
from torchsid.settings import checked


class MonoForward(AnsweringRule):
    """Trains a sequence of layers, each together with its projection to goodness, by one forward pass.

        a_l = f_l(sg(a_{l−1})),   G_l = a_l M_lᵀ,   M_l [C, n_l];     L_l = KL(p_y ‖ softmax(G_l))

    `L_l` trains `f_l` and `M_l` alone. The network's last, linear layer is the last M, and has a bias if the network gave it one;
    there is no other output. After a convolution n_l is the whole map.

    Source: J. Gong, B. Li and W. Abdulla, arXiv 2501.09238, which we know by descriptions and replications: there all layers
    learn at the same time or one after the other, here at the same time. Stored: one layer with its M. Locked: forward.

    Args:
        network: the layers.
        answer: The last goodness, or the sum of all.
    """

    @checked
    def __init__(self, network: Layered, *, answer: Literal["last", "sum"] = "last") -> None:
        *layers, last = check_layers(network, type(self).__name__).layers
        together: Together = "last" if answer == "last" else "goodness"
        super().__init__(AnsweringLayers(layers, [*projections(network), last], network.num_classes, together=together))
