"""A network as a sequence of layers, which methods without backpropagation train one by one.

h_0 = x;   h_l = f_l(h_{l−1}),  l = 1 … L;   h_L are the logits.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from torchsid.core.side_effects import without_side_effects
from torchsid.errors import CutError


class Layered(nn.Module):
    """A classifier as the sequence of its layers; at inference the classifier itself.

    A layer is a module with weights of two axes or more, such as a convolution or a residual block, together with what stands
    behind it without such weights: a normalisation, an activation, pooling. What stands before the first belongs to it.

    Args:
        model: an `nn.Sequential`, nested or not, whose last module is linear and makes the logits `[B, C]`.
        example: a small batch of inputs, `[B, ...]`; only its shape and dtype count.

    Raises:
        CutError: the model is no such sequence, or cannot read the example.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.model = model
        self.layers = _layers_of(model)  # a tuple registers no submodule: names and state dict stay the model's
        self.num_classes = int(self.layers[-1][-1].out_features)  # type: ignore[arg-type]
        self.sizes = self._sizes(example)
        """The shape of a sample of `h_0 … h_L`."""

    @property
    def depth(self) -> int:
        """The number of layers L."""
        return len(self.layers)

    @property
    def not_linear(self) -> list[str]:
        """The names and kinds of the modules with parameters that are no linear layers from vectors to vectors."""
        sized = zip(self.layers, self.sizes[1:], strict=True)
        made = ((module, size.numel()) for layer, size in sized for module in layer)
        linear = {id(module) for module, width in made if isinstance(module, nn.Linear) and module.out_features == width}
        return [
            f"{name} ({type(module).__name__})"
            for name, module in self.model.named_modules()
            if id(module) not in linear and any(True for _ in module.parameters(recurse=False))
        ]

    def named_stage_parameters(self, stage: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of layer `stage` (from 0), under their names here."""
        own = {id(parameter) for parameter in self.layers[stage].parameters()}
        return ((name, parameter) for name, parameter in self.named_parameters() if id(parameter) in own)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, `[B, C]`."""
        logits: Tensor = self.model(x)
        return logits

    def _sizes(self, example: Tensor) -> list[torch.Size]:
        h = torch.zeros(2, *example.shape[1:], dtype=example.dtype, device=next(self.parameters()).device)
        sizes = [h.shape[1:]]
        try:
            with torch.no_grad(), without_side_effects(self):
                for layer in self.eval().layers:
                    sizes.append((h := layer(h)).shape[1:])
        except (RuntimeError, ValueError) as error:
            raise CutError(f"the model cannot read inputs of shape {['B', *example.shape[1:]]}: {error}") from error
        return sizes


def _layers_of(model: nn.Module) -> tuple[nn.Sequential, ...]:
    """Return the layers of a sequence, in order; a CutError where it is none that methods could train."""
    wanted = "give an nn.Sequential whose last module is linear and makes the logits, or take another method"
    if not isinstance(model, nn.Sequential):
        raise CutError(f"{type(model).__name__} is no sequence, whose layers could be trained one by one: {wanted}")
    layers: list[list[nn.Module]] = [[]]
    for module in _flat(model):
        if mixes(module) and any(map(mixes, layers[-1])):
            layers.append([])
        layers[-1].append(module)
    if not isinstance(last := layers[-1][-1], nn.Linear):
        raise CutError(f"{type(model).__name__} ends in {type(last).__name__}: {wanted}")
    return tuple(nn.Sequential(*layer) for layer in layers)


def _flat(model: nn.Sequential) -> Iterator[nn.Module]:
    for module in model:
        if isinstance(module, nn.Sequential):
            yield from _flat(module)
        else:
            yield module


def mixes(module: nn.Module) -> bool:
    """Return whether a module has weights of two axes or more."""
    return any(parameter.dim() > 1 for parameter in module.parameters())
