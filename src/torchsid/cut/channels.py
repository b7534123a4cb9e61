"""Which axis of features has the channels: what made them and what reads them says so.

From a tensor the autograd graph is followed to both sides, through whatever keeps its axes or permutes them, to the next operation
that treats one axis as channels: a convolution and its norms the second, a linear layer, LayerNorm or an embedding the last.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import NamedTuple

from torch import nn

from torchsid.cut.profile import Exit, Node, Profile

_SECOND = ("Convolution", "BatchNorm", "GroupNorm", "Pool", "Upsample")  # parts of the names of nodes
_LAST = ("Addmm", "Mm", "Bmm", "Linear", "LayerNorm", "RmsNorm", "Embedding")
_INPUT = {"Addmm": 1}  # which argument is the input, where it is not the first
_VIEWS = ("View", "Squeeze", "Unsqueeze", "Reshape")
_SLICES = ("Slice", "Cat", "Pad", "Split", "Narrow")  # change the length of an axis, not its meaning
_MODULES = (nn.Linear, nn.RNNBase, nn.MultiheadAttention, nn.Embedding)  # channels last; whatever they are made of
_STEPS = 300


class _Place(NamedTuple):
    """A tensor of the graph, and which axis of the features each of its axes is."""

    node: Node
    output: int
    axes: tuple[int | None, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.node._input_metadata[self.output].shape)


def channel_axis(model: nn.Module, found: Profile, exit_: Exit, batch: int) -> int | None:
    """Return the axis of the channels in what a head reads at an exit; None where nothing tells, or both sides differ.

    `batch` is the axis of the samples, which it cannot be.
    """
    start = _Place(exit_.nodes[0], 0, tuple(axis if axis != batch else None for axis in range(len(exit_.shape))))
    ends_last = [each for each in found.exits if isinstance(model.get_submodule(each.name), _MODULES)]
    last = {each.nodes[0] for each in ends_last if each.nodes}
    readers = defaultdict[Node, list[Node]](list)
    for reader, read in found.edges:
        readers[read].append(reader)
    read_last = any(each.reads == exit_.returns and each.order > exit_.order for each in ends_last)
    ahead = start.axes[-1] if read_last else _search(start, lambda place: _reads(place, readers[place.node]))
    said = {ahead, _search(start, lambda place: _makes(place, last))} - {None}
    return said.pop() if len(said) == 1 else None


def _search(start: _Place, step: Callable[[_Place], Iterator[_Place | int | None]]) -> int | None:
    """Return the nearest axis that `step` finds, which yields further places until it does."""
    waiting = deque([start])
    for _ in range(_STEPS):
        for found in step(waiting.popleft()) if waiting else ():
            if isinstance(found, int):
                return found
            if found is not None and any(axis is not None for axis in found.axes):
                waiting.append(found)
    return None


def _makes(place: _Place, last: set[Node]) -> Iterator[_Place | int | None]:
    """Yield the axis that the node has made as channels, or what it reads."""
    axis = -1 if place.node in last else _treated(place.node)
    if axis is not None and len(place.axes) > 1:
        yield place.axes[axis]
    for read, output in place.node.next_functions:
        if read is not None:
            before = _Place(read, output, ())
            of = _sources(place.node, before.shape, place.shape)
            axes = dict(zip(of, place.axes, strict=True)) if of else {}
            yield before._replace(axes=tuple(axes.get(axis) for axis in range(len(before.shape))))


def _reads(place: _Place, readers: Iterable[Node]) -> Iterator[_Place | int | None]:
    """Yield the axis that a reader takes for channels, or what it makes."""
    for reader in readers:
        arguments, axis = list(reader.next_functions), _treated(reader)
        argument = arguments.index(here) if (here := (place.node, place.output)) in arguments else None
        if argument is None or (axis is not None and argument != _INPUT.get(_kind(reader), 0)):
            continue
        if axis is not None and len(place.axes) > 1:
            yield place.axes[axis]
        made = _Place(reader, 0, ())
        of = _sources(reader, place.shape, made.shape)
        yield made._replace(axes=tuple(None if axis is None else place.axes[axis] for axis in of))


def _kind(node: Node) -> str:
    kind: str = node.name().partition("Backward")[0]
    return kind


def _treated(node: Node) -> int | None:
    """Return which axis a node treats as channels, 1 or −1."""
    kind = _kind(node)
    if any(part in kind for part in _SECOND):
        return 1
    several = len(getattr(node, "_saved_normalized_shape", ())) > 1  # a LayerNorm over whole maps
    return -1 if any(kind.endswith(part) for part in _LAST) and not several else None


def _sources(node: Node, before: tuple[int, ...], after: tuple[int, ...]) -> list[int | None]:
    """Return for every axis of what a node makes which axis of what it reads that is; empty where there is no telling."""
    kind, rank = _kind(node), len(before)
    same: list[int | None] = list(range(rank))
    if kind in ("Transpose", "T"):
        first, second = _axes([getattr(node, "_saved_dim0", 0), getattr(node, "_saved_dim1", 1)], rank)
        same[first], same[second] = same[second], same[first]
        return same
    if kind == "Permute":
        return [*_axes(node._saved_dims, rank)]
    if before == after:
        return same
    if any(part in kind for part in _VIEWS):
        starts = {(prod(before[:axis]), size): axis for axis, size in enumerate(before) if size > 1}
        return [starts.get((prod(after[:axis]), size)) for axis, size in enumerate(after)]
    if len(after) == rank and any(part in kind for part in (*_SLICES, *_SECOND)):
        return same
    dims = getattr(node, "_saved_dim", ())  # of a mean over positions, or the one that was taken
    left = [axis for axis in same if axis not in _axes(dims if isinstance(dims, tuple | list) else [dims], rank)]
    return left if len(left) == len(after) < rank else []


def _axes(dims: Iterable[int], rank: int) -> list[int]:
    """Return axes from 0; nodes keep negative ones as unsigned 64-bit numbers."""
    return [((dim + 2**63) % 2**64 - 2**63) % rank for dim in dims]
