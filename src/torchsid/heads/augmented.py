"""AugLocal's head: fresh copies of later layers of the trunk, chosen evenly, fewer at later stages; vectors, tokens, maps.

Source: C. Ma, J. Wu, C. Si and K. C. Tan, "Scaling supervised local learning with augmented auxiliary networks" (ICLR 2024, arXiv
2402.17318).
"""

from collections.abc import Iterable
from itertools import pairwise

from torch import Tensor, nn

from torchsid.core.layers import mixes
from torchsid.heads.trunk import TrunkBody
from torchsid.settings import Count, Weight, checked


class AugmentedBody(TrunkBody):
    """Copies of d of the n later layers, those that end n/d, 2n/d … n layers behind the stage, then the mean over the positions.

    Stage l of L, from 0, has `d_l = max(1, round((1 − t)·d + t))` with `t = τ·l / (L−2)`: fewer layers where fewer follow. Where
    layers that change the shape lie between two that are chosen, they are copied in the place of the second: of a ResNet's blocks
    these are the ones that lead from the one's width to the other's. A layer is a later module with weights of two axes or more,
    and what stands behind it without such.

    Args:
        place: the stage l and the number of stages L.
        layers: d, the number of layers of the first stage's head.
        taper: τ, by how much of that number the last head but one has less.
    """

    @checked
    def __init__(
        self,
        example: Tensor,
        later: Iterable[nn.Module],
        place: tuple[int, int],
        pool: bool = True,
        *,
        layers: Count = 3,
        taper: Weight = 0.5,
    ) -> None:
        stage, depth = place
        tapered = taper * stage / max(depth - 2, 1)
        self.count = max(1, round((1 - tapered) * layers + tapered))
        super().__init__(example, later, pool)

    def choose(self, later: list[tuple[nn.Module, bool]]) -> list[nn.Module]:
        """Return the copies to take; see the class."""
        layers: list[list[tuple[nn.Module, bool]]] = [[]]
        for module, changes in later:
            if mixes(module) and any(mixes(other) for other, _ in layers[-1]):
                layers.append([])
            layers[-1].append((module, changes))
        count = min(self.count, len(layers))
        ends = [round(i * len(layers) / count) for i in range(count + 1)]
        chosen = list[nn.Module]()
        for start, end in pairwise(ends):
            passed = layers[start:end]
            changing = [layer for layer in passed if any(changes for _, changes in layer)]
            chosen += (module for layer in changing or passed[-1:] for module, _ in layer)
        return chosen
