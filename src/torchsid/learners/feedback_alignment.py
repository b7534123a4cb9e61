"""Feedback alignment: errors go back through fixed random weights (Lillicrap et al. 2016)."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.beliefs import check_positions
from torchsid.core.calling import Inputs, call, logits_of
from torchsid.core.learner import Lock
from torchsid.core.pitfalls import Lookout
from torchsid.core.rule import Batch, Rule
from torchsid.errors import some_of

Mixing = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class WithFeedback(nn.Module):
    """A classifier, and random weights for errors to go back through; at inference the classifier itself.

    Args:
        model: the classifier; every weight of two axes or more is that of a linear layer or a convolution.

    Raises:
        ValueError: it has other weights, or fewer than two such layers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        layers = {name: module for name, module in model.named_modules() if isinstance(module, Mixing)}
        known = {id(layer.weight) for layer in layers.values()}
        others = [name for name, each in model.named_parameters() if each.dim() > 1 and id(each) not in known]
        if others or len(layers) < 2:
            what = f"{some_of(others)} is no weight of such a layer" if others else f"{type(model).__name__} has {len(layers)}"
            raise ValueError(
                f"errors go back through linear layers and convolutions, two or more, but {what}: take another network"
            )
        self.model = model
        self.num_classes = int(list(layers.values())[-1].weight.shape[0])
        self.names = tuple(layers)[1:]  # nothing goes back behind the first
        for i, layer in enumerate(self.layers):  # as PyTorch draws weights
            bound = layer.weight[0].numel() ** -0.5
            self.register_buffer(f"feedback_{i}", torch.empty_like(layer.weight).detach().uniform_(-bound, bound))

    @property
    def layers(self) -> list[Any]:
        """The layers that errors go back through, in the order in which the model names them."""
        return [self.model.get_submodule(name) for name in self.names]

    @property
    def feedback(self) -> list[Tensor]:
        """The random weights of these layers, each shaped like the layer's own."""
        return [self.get_buffer(f"feedback_{i}") for i in range(len(self.names))]

    def forward(self, x: Inputs) -> Tensor:
        """Return the logits, `[B, C]`."""
        return logits_of(call(self.model, x))

    @contextmanager
    def going_back_through(self, weights: Sequence[Tensor]) -> Iterator[None]:
        """Have every layer compute `W sg(h) + b + (B h − sg(B h))`: its value is the layer's own, its gradient in h B's."""

        def forward(layer: Any, weight: Tensor, h: Tensor) -> Tensor:
            own: Tensor = type(layer).forward(layer, h.detach())
            back = F.linear(h, weight) if isinstance(layer, nn.Linear) else layer._conv_forward(h, weight, None)
            return own + (back - back.detach())

        def restore(layer: Any) -> None:
            del layer.forward

        with ExitStack() as stack:
            for layer, weight in zip(self.layers, weights, strict=True):
                layer.forward = partial(forward, layer, weight)
                stack.callback(restore, layer)
            yield


class FeedbackAlignment(Rule):
    """Trains linear layers and convolutions like backpropagation, except for the weights through which errors go back.

        a_l = W_l h_{l−1} + b_l,   h_l = f(a_l);     δ_l = (B_{l+1}ᵀ δ_{l+1}) ⊙ f′(a_l),     ∂L/∂W_l = δ_l h_{l−1}ᵀ

    `B_l` has the shape of `W_l`, is drawn once, and never changes. With `B = W` this is backpropagation.

    Source: T. Lillicrap, D. Cownden, D. Tweed and C. Akerman, Nature Communications 7:13276, 2016. Stored: all activations, and B,
    as large as the weights. Locked: forward, update and backward; no weights are transported. It does not take attention, and
    learns badly in deep convolutional networks.

    Args:
        module: a network that returns logits `[B, C]`.
    """

    networks: ClassVar[tuple[str, ...]] = ("plain",)
    locks: ClassVar[frozenset[Lock]] = frozenset({"forward", "update", "backward"})
    module: WithFeedback

    def __init__(self, module: nn.Module) -> None:
        self.module = WithFeedback(module)
        self.lookout = Lookout(self.module)

    def weights_back(self) -> list[Tensor]:
        """Return what errors shall go back through in this step, one tensor a layer, shaped like its weight."""
        return self.module.feedback

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Differentiate the cross-entropy, with other weights on the way back."""
        with self.module.going_back_through(self.weights_back()):
            logits = self.module(batch.x)
        check_positions(batch.log_target.shape[:-1], logits.shape[:-1], self.module.num_classes)
        loss = batch.cross_entropy(logits)
        (batch.scales[0] * loss).backward()  # type: ignore[no-untyped-call]
        return [loss], [logits]
