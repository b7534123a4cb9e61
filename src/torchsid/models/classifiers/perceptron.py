"""A multi-layer perceptron: linear layers with an activation between them, on the flattened input."""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn

from torchsid.core.cascade import Positions
from torchsid.core.shared import outputs_of
from torchsid.settings import Count, checked

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


@checked
def perceptron(
    example: Tensor,
    num_classes: int,
    positions: Positions = (),
    *,
    width: Count = 256,
    hidden_layers: Count = 2,
    activation: Literal["relu", "tanh", "sigmoid"] = "relu",
) -> nn.Sequential:
    """Return `flatten`, then `linear_i` and `activation_i` for each hidden layer, and a linear `head`: `[B, ...]` to `[B, C]`.

    Where a sample has M positions, all M of its answers are made of the same features, `[B, M, C]`.

    Args:
        example: a batch of inputs.
        num_classes: C.
        positions: where a sample's beliefs are, as the task says.
        width: Width of the hidden layers.
        hidden_layers: Their number.
        activation: After each hidden layer.
    """
    parts = OrderedDict[str, nn.Module](flatten=nn.Flatten())
    inputs = example[0].numel()
    for i in range(1, hidden_layers + 1):
        parts |= {f"linear_{i}": nn.Linear(inputs, width), f"activation_{i}": ACTIVATIONS[activation]()}
        inputs = width
    if positions == "tokens":
        raise ValueError("a perceptron reads a sample whole, and here each token is answered: choose another model.trunk")
    parts["head"] = nn.Linear(inputs, outputs_of(num_classes, positions))
    return nn.Sequential(parts | ({"positions": nn.Unflatten(1, (*positions, num_classes))} if positions else {}))
