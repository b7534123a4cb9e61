"""How the weights of a stage begin."""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn

from torchsid.errors import unknown_name
from torchsid.heads.mlp import MLPHead

Init = Literal["pytorch", "xavier", "kaiming", "orthogonal", "zero"]

_WEIGHTS: dict[Init, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    "zero": nn.init.zeros_,
}


def initialise(head: MLPHead, init: Init) -> None:
    """Give a head the weights that it begins with, in place. The last layer of a residual head stays zero, which makes it one.

    | init         | weights                                                        | biases      |
    | ------------ | -------------------------------------------------------------- | ----------- |
    | `pytorch`    | as they are: uniform in ±1/√(inputs)                           | as they are |
    | `xavier`     | uniform in ±√(6 / (inputs + outputs)) (Glorot and Bengio 2010) | 0           |
    | `kaiming`    | normal, variance 2 / inputs (K. He et al., arXiv 1502.01852)   | 0           |
    | `orthogonal` | orthonormal rows or columns (Saxe et al., arXiv 1312.6120)     | 0           |
    | `zero`       | 0 in the last layer, the hidden layer's as they are            | the same    |

    With `zero` a plain head begins by answering with the uniform belief.

    Raises:
        ValueError: the name is unknown.
    """
    if init not in get_args(Init):
        raise ValueError(unknown_name("init", init, get_args(Init)))
    if init == "pytorch":
        return
    if init != "zero":
        _begin(head.hidden, init)
    if init == "zero" or head.kind == "plain":
        _begin(head.output, init)


def _begin(layer: nn.Linear, init: Init) -> None:
    _WEIGHTS[init](layer.weight)
    nn.init.zeros_(layer.bias)
