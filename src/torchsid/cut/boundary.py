"""Cut a model as it stands: forward hooks at the cuts close each stage, for the time of a call. The model is not rewritten."""

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import ClassVar, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_flatten, tree_unflatten

from torchsid.core.calling import Inputs, call, logits_of
from torchsid.core.cascade import Close
from torchsid.errors import CutError

Hook = Callable[[nn.Module, object, object], object]


@dataclass(frozen=True)
class Boundaries:
    """Stage i ends where submodule `cuts[i]` returns; the last stage ends with the model.

    What the submodule returns may be a tensor, or a tuple, list, dictionary or output class that holds some; the head reads the
    first floating-point tensor. Works for any model that can run, in train and eval mode.
    """

    cuts: tuple[str, ...]
    # The cuts within activation checkpointing, which must not take what heads keep for backward for the model's.
    recomputed: frozenset[str] = frozenset()
    modules: ClassVar[tuple[nn.Module, ...]] = ()

    def run(self, model: nn.Module, x: Inputs, close: Close) -> None:
        """Run the model, see `Segments.run`; a CutError where it did not come past the cuts one by one and in order."""
        passed: list[str] = []
        attached: dict[str, list[bool]] = {}  # of each tensor that was handed on, whether the graph goes on behind the cut
        closing = False

        def at(name: str) -> Hook:
            def hook(module: nn.Module, args: object, output: object) -> object:
                nonlocal closing
                if closing:  # a backward pass runs the submodule once more, as activation checkpointing does
                    return _cut_as_before(output, attached[name]) if name in attached else output
                stage = len(passed)
                passed.append(name)
                if passed != list(self.cuts[: len(passed)]):
                    way_out = "cut at submodules that each forward pass runs once, and name them in the order in which it does"
                    raise CutError(f"the model came past {', '.join(passed)}, but the cuts are {', '.join(self.cuts)}: {way_out}")
                closing = True
                try:
                    with saved_tensors_hooks(_same, _same) if name in self.recomputed else nullcontext():
                        handed_on = close(stage, tensors_of(output))
                    attached[name] = [each.requires_grad for each in handed_on]
                    return replace_tensors(output, handed_on)
                finally:
                    closing = False

            return hook

        with ExitStack() as hooks:
            for name in self.cuts:
                hooks.enter_context(model.get_submodule(name).register_forward_hook(at(name)))
            output = call(model, x)
            if len(passed) < len(self.cuts):
                way_out = "cut at submodules that every forward pass runs"
                raise CutError(f"the model did not come past {self.cuts[len(passed)]!r}: {way_out}")
            closing = True
            close(len(self.cuts), [logits_of(output)])


def _cut_as_before(output: object, attached: list[bool]) -> object:
    """Return what a submodule returned when it was run once more, without the graph where the first pass went on without it."""
    made = zip(tensors_of(output), attached, strict=True)
    return replace_tensors(output, [tensor if kept else tensor.detach() for tensor, kept in made])


def _same(tensor: Tensor) -> Tensor:
    return tensor


def tensors_of(output: object) -> list[Tensor]:
    """Return the floating-point tensors in what a module returned, in order; none that is sparse or nested."""
    return [leaf for leaf in tree_flatten(output)[0] if _is_feature(leaf)]


def replace_tensors(output: object, tensors: list[Tensor]) -> object:
    """Return the same structure with other floating-point tensors."""
    leaves, structure = tree_flatten(output)
    following = iter(tensors)
    return tree_unflatten([next(following) if _is_feature(leaf) else leaf for leaf in leaves], structure)


def _is_feature(leaf: object) -> TypeGuard[Tensor]:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and has_storage(leaf)


def has_storage(tensor: Tensor) -> bool:
    """Return whether a tensor is one block of numbers: not sparse, not nested."""
    return tensor.layout is torch.strided and not tensor.is_nested
