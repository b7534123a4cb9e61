"""MAN's head: the trunk's next layer twice, trained and as a moving average of the true one, then `mlp-sr`; vectors, tokens, maps.

Source: J. Su et al., "Momentum auxiliary network for supervised local learning" (ECCV 2024, arXiv 2407.05623), as released.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from torchsid.core.layers import mixes
from torchsid.heads.features import smaller
from torchsid.heads.mlp_sr import MLPSRBody
from torchsid.heads.trunk import followed, refusal, reinitialised


class MomentumBody(nn.Module):
    """`v = mlp_sr(local(h) + average(h))`, both of the form of the trunk's next layer, and both with weights of their own at first.

    `local` is trained. `average` follows the true next layer by `follow`, its weights are buffers, and the gradient goes through it
    to the features; statistics of its BatchNorm are its own. The next layer is the later modules up to the first that has weights
    of two axes or more. With a `factor` maps are averaged to sides that much smaller before.

    Raises:
        HeadError: there is no such layer, or it cannot read the features.
    """

    def __init__(self, example: Tensor, later: Iterable[nn.Module], factor: int = 1) -> None:
        super().__init__()
        self.factor, example = factor, smaller(example, factor)
        modules = list(later)
        length = next((i for i, module in enumerate(modules, 1) if mixes(module)), None)
        if length is None:
            advice = "cut the trunk so that a layer stands between the last cut and the classifier"
            raise refusal(example, f"later holds no layer to copy: {advice}")
        self._next = tuple(modules[:length])  # a tuple registers no submodule: the weights stay the trunk's
        copies = [copy for copy, _ in followed(example, self._next)]
        self.local = reinitialised(nn.Sequential(*copies))
        self.average = _untrained(reinitialised(deepcopy(self.local)))
        with torch.no_grad():
            made = self.local(example)
        self.head = MLPSRBody(made)
        self.width = self.head.width
        self.train()

    def forward(self, features: Tensor) -> Tensor:
        """Return `v`, `[B, width]`."""
        features = smaller(features, self.factor)
        v: Tensor = self.head(self.local(features) + self.average(features))
        return v

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Let the average come closer to the next layer: `γ ← m·γ + (1−m)·θ`."""
        for i, module in enumerate(self._next):
            for name, parameter in module.named_parameters():
                average = self.average.get_buffer(f"{i}.{name}")
                average.lerp_(parameter.to(average), 1 - momentum)


def _untrained(module: nn.Module) -> nn.Module:
    """Return a module whose parameters have become buffers: no optimiser moves them, and gradients pass."""
    for each in module.modules():
        own: Mapping[str, Tensor] = dict(each.named_parameters(recurse=False))
        for name, value in own.items():
            delattr(each, name)
            each.register_buffer(name, value.detach())
    return module
