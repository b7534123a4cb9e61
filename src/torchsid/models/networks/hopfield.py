"""A layered Hopfield network, which answers by settling into a minimum of its energy (Scellier and Bengio 2017)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.cascade import Positions
from torchsid.models.tokens import numbers_in
from torchsid.settings import Count, Share, checked


class HopfieldNetwork(nn.Module):
    """States `s_1 … s_L` between 0 and 1, of which the last are the answer, on a clamped input `s_0 = x`.

        E(s) = ½ Σ_l ‖s_l‖² − Σ_l s_lᵀ W_l s_{l−1} − Σ_l b_lᵀ s_l;     s ← clip(s − ε ∂E/∂s, 0, 1), T times from s = 0

    Each weight connects two layers both ways. The answer is between 0 and 1 for each class; its softmax is flat.

    Args:
        sizes: numbers of inputs, of the units of every hidden layer, and C.
        steps: T.
        step_size: ε.
    """

    def __init__(self, sizes: Sequence[int], *, steps: int, step_size: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.sizes = tuple(sizes)
        self.num_classes = sizes[-1]
        self.steps = steps
        self.step_size = step_size

    def forward(self, x: Tensor) -> Tensor:
        """Return the answer of the free phase, `[B, C]`."""
        return self.settle(x, self.rest(x), self.steps)[-1]

    def rest(self, x: Tensor) -> list[Tensor]:
        """Return the states where settling begins, zeros `[B, n_l]`."""
        return [x.new_zeros(x.shape[0], size) for size in self.sizes[1:]]

    def settle(
        self, x: Tensor, states: Sequence[Tensor], steps: int, *, beta: float = 0.0, target: Tensor | None = None
    ) -> list[Tensor]:
        """Return the states after so many steps down the energy; with a target `[B, C]` down `E + β ‖s_L − target‖²`."""
        drive = self.layers[0](x.flatten(1))
        for _ in range(steps):
            forces = [
                drive - states[0],
                *(layer(s) - own for layer, s, own in zip(self.layers[1:], states, states[1:], strict=False)),
            ]
            for i, layer in enumerate(self.layers[1:]):
                forces[i] = forces[i] + F.linear(states[i + 1], layer.weight.T)  # type: ignore[arg-type]
            if target is not None:
                forces[-1] = forces[-1] + 2 * beta * (target - states[-1])
            states = [(s + self.step_size * force).clamp(0, 1) for s, force in zip(states, forces, strict=True)]
        return list(states)

    def energy(self, x: Tensor, states: Sequence[Tensor]) -> Tensor:
        """Return `E(s)`, `[B]`."""
        below = [x.flatten(1), *states[:-1]]
        terms = [((s / 2 - layer(h)) * s).sum(-1) for layer, h, s in zip(self.layers, below, states, strict=True)]
        return torch.stack(terms).sum(0)


@checked
def hopfield(
    example: Tensor,
    num_classes: int,
    positions: Positions = (),
    *,
    width: Count = 500,
    hidden_layers: Count = 1,
    steps: Count = 20,
    step_size: Share = 0.5,
) -> HopfieldNetwork:
    """Return the network for inputs like `example`, which are flattened and should be between 0 and 1.

    Args:
        example: a small batch of inputs.
        num_classes: C.
        positions: where a sample's beliefs are, as the task says.
        width: Units of a hidden layer.
        hidden_layers: Their number.
        steps: Steps T down the energy until it answers; deep networks need more.
        step_size: Length ε of a step.
    """
    sizes = [numbers_in(example), *[width] * hidden_layers, num_classes]
    return HopfieldNetwork(sizes, steps=steps, step_size=step_size)
