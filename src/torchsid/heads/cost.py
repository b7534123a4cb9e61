"""What a module costs: multiply-adds of a forward pass, and parameters."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from torchsid.core.calling import layer_by_layer
from torchsid.core.operations import counting
from torchsid.core.side_effects import without_side_effects


def multiply_adds(module: nn.Module, *example_inputs: Tensor, **named: object) -> int:
    """Return the multiply-adds of a forward pass in evaluation mode, for a sample of inputs that have the batch first.

    Matrix products, convolutions and attention count; what goes element by element (norms, activations, pooling) does not.
    """
    with counting_multiply_adds(module) as so_far:
        module(*example_inputs, **named)
        return so_far() // len(example_inputs[0])


@contextmanager
def counting_multiply_adds(module: nn.Module) -> Iterator[Callable[[], int]]:
    """Have a module in evaluation mode, and tell how many multiply-adds were done so far."""
    # Fused attention kernels hide their products from the counter.
    with layer_by_layer(), without_side_effects(module), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counting() as counter:
        module.eval()
        yield lambda: int(counter.get_total_flops()) // 2


def parameters(module: nn.Module) -> int:
    """Return the number of parameters, each counted once."""
    return sum(parameter.numel() for parameter in module.parameters())
