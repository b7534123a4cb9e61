import torch
from torch import nn

from torchsid.core.kept_bytes import kept_bytes

FLOAT = 4


def test_a_saved_tensor_counts_once_and_parameters_not_at_all() -> None:
    layer, x = nn.Linear(10, 10), torch.randn(32, 10)

    def step() -> None:
        features = layer(x)  # keeps x
        (features.sigmoid() * features.sigmoid()).sum().backward()  # two sigmoids, each kept by two graphs

    assert kept_bytes(layer, step) == (1 + 2) * 32 * 10 * FLOAT


def test_it_is_the_peak_of_what_is_alive_not_the_sum() -> None:
    layer, x = nn.Linear(10, 10), torch.randn(32, 10)

    def one_after_another() -> None:
        for _ in range(5):
            layer(x.clone()).sum().backward()

    def all_at_once() -> None:
        sum(layer(x.clone()).sum() for _ in range(5)).backward()

    assert kept_bytes(layer, one_after_another) == 32 * 10 * FLOAT
    assert kept_bytes(layer, all_at_once) == 5 * 32 * 10 * FLOAT


def test_the_gradients_are_those_without_counting() -> None:
    layer, x = nn.Linear(10, 10), torch.randn(32, 10)
    layer(x).square().sum().backward()
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    kept_bytes(layer, lambda: layer(x).square().sum().backward())
    assert torch.equal(layer.weight.grad, expected)
