"""Fresh copies of the trunk's later layers that change the shape, pool, linear; vectors, tokens, maps.

Source: AugLocal, "Scaling supervised local learning with augmented auxiliary networks" (ICLR 2024, arXiv 2402.17318): a stage that
is judged by layers like those which will read its features learns features that serve them.
"""

from collections.abc import Iterable
from copy import deepcopy
from itertools import islice

import torch
from torch import Tensor, nn

from torchsid.errors import HeadError
from torchsid.heads.features import FORMS, channels, describe, mean_over_positions


class TrunkBody(nn.Module):
    """Fresh copies of the later modules that change the shape, in order, then the mean over the positions.

    A module that keeps the shape of what it reads is left out; if all do, the first that has parameters is taken, so that there
    is one layer at least. Copies are re-initialised by the `reset_parameters` of their submodules, and can be trained even when
    the originals are frozen; a parameter that no such method covers starts with the original's value.

    Raises:
        HeadError: there are no later modules, they cannot follow the features, or the first changes what it reads in place.
    """

    def __init__(self, example: Tensor, later: Iterable[nn.Module], pool: bool = True) -> None:
        super().__init__()
        self.pool = pool
        self.layers = nn.Sequential(*map(reinitialised, self.choose(followed(example, later))))
        if not len(self.layers):
            raise refusal(example, "later holds no module to copy: give the trunk's modules after this stage")
        version = example._version
        out = _run(self.layers, example)
        if example._version != version:
            why = "changes its input in place, and the next stage reads the same features"
            advice = "make its first operation return a new tensor"
            raise refusal(example, f"{type(self.layers[0]).__name__} {why}: {advice}")
        if not pool and out.shape[:-1] != example.shape[:-1]:
            raise refusal(example, f"the later modules make {describe(out)} of it: keep the positions")
        self.width = channels(out)
        self.train()

    def choose(self, later: list[tuple[nn.Module, bool]]) -> list[nn.Module]:
        """Return which copies of the later modules to take; beside each stands whether it changes the shape."""
        keeping = (module for module, changes in later if not changes and next(module.parameters(), None) is not None)
        return [module for module, changes in later if changes] or [*islice(keeping, 1)]

    def forward(self, features: Tensor) -> Tensor:
        """Return `v`, `[B, width]`, or `[B, T, width]`."""
        made: Tensor = self.layers(features)
        return mean_over_positions(made) if self.pool else made


def followed(example: Tensor, later: Iterable[nn.Module]) -> list[tuple[nn.Module, bool]]:
    """Return a copy of every later module, in evaluation mode, and whether it changes the shape of what it reads.

    Raises:
        HeadError: one cannot read what those before it make of the example.
    """
    x, found = example, list[tuple[nn.Module, bool]]()
    for module in later:
        copy = _copy(module)
        try:
            y = _run(copy, x.clone())
        except Exception as error:  # the modules are the user's, so any error may come
            why = f"the later module {type(module).__name__} cannot read {describe(x)} ({error})"
            raise refusal(example, f"{why}: give in later the trunk's modules after this stage, in order") from error
        found.append((copy, y.shape != x.shape))
        x = y
    return found


def _run(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        out = module(x)
    if not isinstance(out, Tensor) or out.dim() not in FORMS:
        shown = describe(out) if isinstance(out, Tensor) else type(out).__name__
        raise TypeError(f"it returns {shown} where one tensor of vectors, tokens or maps is needed")
    return out


def _copy(module: nn.Module) -> nn.Module:
    copy = deepcopy(module).to(device=torch.get_default_device(), dtype=torch.get_default_dtype())
    for each in copy.modules():
        if getattr(each, "inplace", False):
            each.inplace = False  # type: ignore[assignment]  # it may be the first to read the features
    return copy.requires_grad_().eval()


def reinitialised(module: nn.Module) -> nn.Module:
    """Return a module with weights as its submodules set them at their start."""
    for each in reversed(list(module.modules())):  # children first: a parent may set theirs its own way
        for name in ("reset_parameters", "_reset_parameters"):  # MultiheadAttention has the latter
            if callable(reset := getattr(each, name, None)):
                reset()
    return module


def refusal(example: Tensor, why: str) -> HeadError:
    """Return the error that says why the trunk's modules make no head."""
    return HeadError(f"a head of the trunk's modules on {describe(example)}: {why}, or choose another head")
