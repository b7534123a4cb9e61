import sys

import pytest
import torch
from torch import nn

from torchsid.core.peak_memory import kept_bytes, peak_memory_mib, reset_peak_memory

FLOAT = 4

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="run it on Linux, which alone starts a new peak")
def test_a_reset_forgets_the_peak_before_it() -> None:
    reset_peak_memory(CPU)
    block = torch.ones(100 * 2**18)  # 100 MiB
    high = peak_memory_mib(CPU)
    del block
    reset_peak_memory(CPU)
    low = peak_memory_mib(CPU)
    assert high is not None
    assert low is not None
    assert high - low > 90


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
