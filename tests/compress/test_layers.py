"""What is quantised, and that a layer's output is its weight times what is said to be read."""

import pytest
import torch
from torch import Tensor, nn

from torchsid.compress.layers import grams, groups_of, layers_of, weight_of

LAYERS = {
    "linear": (nn.Linear(6, 4), (5, 3, 6)),
    "conv": (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (3, 4, 7, 6)),
    "same": (nn.Conv2d(3, 2, (3, 2), padding="same", dilation=2), (2, 3, 6, 6)),
    "reflect": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 2, 5, 5)),
    "depthwise": (nn.Conv2d(3, 3, 3, groups=3), (2, 3, 5, 5)),
    "text": (nn.Conv1d(4, 5, 3, padding=1, stride=2), (3, 4, 9)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_reads_gives_the_square_of_what_it_answers(name: str) -> None:
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    answers: list[Tensor] = []

    def run() -> None:
        for x in torch.randn(2, *shape):
            y = layer(x) - (
                0 if layer.bias is None else layer.bias.view([-1] if name == "linear" else [-1] + [1] * (len(shape) - 2))
            )
            answers.append(y.flatten(0, -2) if name == "linear" else y.transpose(0, 1).flatten(1).T)

    (gram,) = grams({"w": layer}, run).values()
    weight, expected = weight_of(layer).flatten(1).double(), torch.cat(answers).double().square().sum(0)
    found = torch.cat([((part @ g) * part).sum(1) for part, g in zip(weight.chunk(groups_of(layer)), gram, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_matrices_alone_are_quantised_and_shared_ones_once() -> None:
    tokens, readout = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
    readout.weight = tokens.weight
    network = nn.Sequential(tokens, nn.LayerNorm(4), nn.Linear(4, 4), readout, nn.BatchNorm1d(9))
    assert list(layers_of(network)) == ["0.weight", "2.weight"]
    assert list(layers_of(nn.Linear(2, 2))) == ["weight"]
    found = grams(layers_of(network), lambda: network[:4](torch.arange(5)))
    assert list(found) == ["2.weight"]  # an embedding reads no vectors
    assert not readout._forward_pre_hooks


def test_a_layer_that_is_not_called_is_left_out() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    assert list(grams(layers_of(network), lambda: network[0](torch.ones(1, 3)))) == ["0.weight"]
