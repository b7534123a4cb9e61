"""CaFo: a linear predictor on each of several random blocks, which are not trained (Zhao et al. 2023)."""

from torchsid.core.answering import AnsweringLayers, AnsweringRule, projections
from torchsid.core.layers import Layered
from torchsid.core.rule import check_layers


class CaFo(AnsweringRule):
    """Trains a linear predictor after every block of a sequence, and leaves the blocks random.

        h_l = f_l(h_{l−1}),  f_l random and frozen;   L_l = KL(p_y ‖ softmax(V_l h_l)),  for V_l alone;   p ∝ Σ_l softmax(V_l h_l)

    A block is a hidden layer of the network; all its parameters are frozen, `requires_grad = False`. The last predictor is the
    network's own last layer, with its bias; the others have none.

    Source: G. Zhao et al., arXiv 2303.09728, the variant by cross-entropy. Stored: one block's output. Locked: forward. Simplified:
    the predictors learn from batches and at once, not one after the other from all samples; neither the closed form nor the
    variant that trains the blocks is included. It cannot learn features.

    Args:
        network: the layers.
    """

    def __init__(self, network: Layered) -> None:
        *blocks, last = check_layers(network, type(self).__name__).layers
        for block in blocks:
            block.requires_grad_(False)
        super().__init__(AnsweringLayers(blocks, [*projections(network), last], network.num_classes, together="beliefs"))
