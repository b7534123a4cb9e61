"""The layers whose weights are quantised, their weights as matrices, and what such a matrix is multiplied by."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding)


def layers_of(network: nn.Module) -> dict[str, nn.Module]:
    """Return linear layers, convolutions and embeddings by the names of their weights; a weight that two share is the first's."""
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()
    for name, module in network.named_modules():
        weight = dict(module.named_parameters(recurse=False)).get("weight")
        if isinstance(module, KINDS) and weight is not None and weight.is_floating_point() and id(weight) not in seen:
            seen.add(id(weight))
            found[f"{name}.weight" if name else "weight"] = module
    return found


def weight_of(layer: nn.Module) -> Tensor:
    """Return a layer's weight, which can be written to: a row an output channel, or a row a token, `[C, ...]`."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def groups_of(layer: nn.Module) -> int:
    """Return into how many groups of equal size the output channels of a layer fall, each of which reads inputs of its own."""
    return layer.groups if isinstance(layer, nn.Conv1d | nn.Conv2d) else 1


def grams(layers: Mapping[str, nn.Module], run: Callable[[], object]) -> dict[str, Tensor]:
    """Return `XᵀX` of what each group of each layer reads while a function runs, float64 `[groups, d, d]`.

    Embeddings, which read no vectors, and layers that are not called are left out.
    """
    found: dict[str, Tensor] = {}

    def watching(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def watch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            for rows in _rows(layer, inputs[0].detach().float()):
                gram = (rows.mT @ rows).double()
                found[name] = found[name] + gram if name in found else gram

        return watch

    readers = ((name, layer) for name, layer in layers.items() if not isinstance(layer, nn.Embedding))
    hooks = [layer.register_forward_pre_hook(watching(name)) for name, layer in readers]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _rows(layer: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Yield what the rows of a layer's weight are multiplied by, `[groups, n, d]`, some samples at a time."""
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        yield x.reshape(1, -1, x.shape[-1])
        return
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    size, dilation, stride = layer.kernel_size, layer.dilation, layer.stride
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    if isinstance(layer, nn.Conv1d):
        x = x.unsqueeze(-2)
        size, dilation, stride = (1, *size), (1, *dilation), (1, *stride)
    for part in torch.split(x, _SAMPLES):
        patches = F.unfold(part, size, dilation, 0, stride)  # [n, groups · d, places]
        yield patches.view(len(part), layer.groups, -1, patches.shape[-1]).permute(1, 0, 3, 2).flatten(1, 2)


_SAMPLES = 64  # whose patches are in memory at a time
