"""The layers that follow a cut, as modules: what an auxiliary head made of the trunk's later layers is copied from."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from torchsid.cut.profile import Exit, Profile


def later_layers(model: nn.Module, profile: Profile, points: Sequence[Exit], cut: Exit) -> list[nn.Module]:
    """Return the pieces of the trunk behind a cut, in order, each as one module of the model's own submodules.

    A piece is what lies between two neighbouring candidates. The list ends before the first piece that is no plain chain of
    submodules, and before the last, which holds the classifier's output.

    Args:
        model: the classifier.
        profile: of the model.
        points: the candidates, the model's own exit last.
        cut: one of them.
    """
    pieces: list[nn.Module] = []
    behind = [cut, *(point for point in points[:-1] if point.index > cut.index)]
    for start, end in pairwise(behind):
        chain = _chain(profile, start, end)
        if not chain:
            break
        modules = [model.get_submodule(name) for name in chain]
        pieces.append(modules[0] if len(modules) == 1 else nn.Sequential(*modules))
    return pieces


def _chain(profile: Profile, start: Exit, end: Exit) -> list[str]:
    """Return the names of the submodules that lead from one exit's tensor to another's; empty when they alone do not."""
    names: list[str] = []
    tensor, after, position = id(start.tensors[0]), start.order, start.index
    while True:
        calls = [
            call
            for call in profile.exits
            if call.reads == tensor and call.order > after and call.entered > position and call.index <= end.index and call.tensors
        ]
        if not calls:
            return names if tensor == id(end.tensors[0]) else []
        found = min(calls, key=lambda call: call.order)  # calls begin in this order, an outer submodule before its inner ones
        names.append(found.name)
        tensor, after, position = id(found.tensors[0]), found.order, found.index
