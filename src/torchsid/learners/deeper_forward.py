"""DeeperForward: each class has its channels in every layer, whose mean activity is its goodness (Sun et al. 2025)."""

from torch import Tensor, nn

from torchsid.core.answering import AnsweringLayers, AnsweringRule
from torchsid.core.layers import Layered
from torchsid.core.rule import check_layers
from torchsid.settings import Count, checked


class GroupedMean(nn.Module):
    """The mean over each of C groups of channels and over all of space: `[B, n, ...]` to `[B, C]`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, h: Tensor) -> Tensor:
        """Return the goodness of each class."""
        return h.reshape(len(h), self.num_classes, -1).mean(-1)


class DeeperForward(AnsweringRule):
    """Trains the hidden layers of a sequence, each by the cross-entropy of the mean activities of its groups of channels.

        y_l = f_l(x_l),   g_l = mean of y_l over group and space [C];   L_l = KL(p_y ‖ softmax(g_l));   x_{l+1} = sg(norm_C(y_l))

    `norm_C` gives every group mean 0 and variance 1, so that the next layer cannot read the answer. It answers with `Σ_l g_l`
    from `first_layer` on; the network's last layer is not used.

    Source: L. Sun et al., ICLR 2025 (OpenReview kOYnXVQCtA). There layers are convolutions without a bias and ReLU, as those of
    `model.trunk = "tiny-cnn"`. Stored: one layer. Locked: forward. Simplified: pooling behind a layer comes before the goodness and
    the norm, not behind them; which layers answer is set, not chosen by validation. The channels of its layers must be a
    multiple of C.

    Args:
        network: the layers.
        first_layer: The first layer, from 1, whose goodness counts in the answer.

    Raises:
        ValueError: a layer's channels are no multiple of C, or a group has but one number; all such layers are named.
    """

    @checked
    def __init__(self, network: Layered, *, first_layer: Count = 1) -> None:
        *layers, _ = check_layers(network, type(self).__name__).layers
        classes, sizes = network.num_classes, network.sizes[1:-1]
        channels = [_channels(layer, size[0]) for layer, size in zip(layers, sizes, strict=True)]
        wrong = [
            f"layer {i} has {count} channels of {size.numel() // count}"
            for i, (count, size) in enumerate(zip(channels, sizes, strict=True), 1)
            if count % classes or size.numel() == classes
        ]
        if wrong:
            what = f"{type(self).__name__} shares the channels of a layer out among {classes} classes, two numbers or more each"
            raise ValueError(f"{what}: {'; '.join(wrong)}; give every layer a multiple of {classes} channels, by model.width")
        norms = [nn.GroupNorm(classes, size[0], affine=False) for size in sizes[:-1]]
        behind = [nn.Sequential(norm, *layer) for norm, layer in zip(norms, layers[1:], strict=True)]
        readouts = [GroupedMean(classes) for _ in layers]
        super().__init__(AnsweringLayers([layers[0], *behind], readouts, classes, together="goodness", first=first_layer))


def _channels(layer: nn.Sequential, made: int) -> int:
    """Return how many channels a layer has, of which it makes `made` numbers in the first axis, more where it flattens."""
    weights = [module.weight for module in layer if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    return len(weights[0]) if weights else made
