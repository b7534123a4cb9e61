"""Run a model once and learn where it can be cut and what each piece of it keeps, computes and trains.

The graph of the forward pass tells what crosses a point in time: every node that was made before it and is read after it. A model
can be cut where a submodule returns and nothing but what it returns crosses. What a submodule returns gets a node of its own there,
as it will be another tensor behind a cut: a shortcut past an `nn.Identity`, or a tensor that somebody kept, is then seen to cross.

Fake tensors do as well as real ones, within a `FakeTensorMode`: shapes and storages are all that counts.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torchsid.core.calling import Inputs, call, logits_of
from torchsid.core.operations import counting
from torchsid.core.rows import Rows, find_rows
from torchsid.core.side_effects import without_side_effects
from torchsid.cut.boundary import has_storage, replace_tensors, tensors_of
from torchsid.cut.model import check_model, initialise_lazy_layers
from torchsid.errors import CutError

Node = Any  # torch.autograd.graph.Node, whose sequence number has no type


@dataclass(frozen=True)
class Exit:
    """The moment a submodule returned."""

    name: str
    index: int  # of this exit among all
    entered: int  # how many exits there had been when the submodule was called
    order: int  # of the call among all calls
    time: int  # the autograd sequence number: nodes made before it have smaller ones
    operations: int  # of the model so far, for the whole example
    reads: int | None  # id of the tensor it was called with, if it was one tensor
    returns: int | None  # id of the first floating-point tensor that it returned, which a head reads; None if that has no gradient
    nodes: tuple[Node | None, ...]  # that made all of them; what works in place later makes new ones
    recomputed: bool  # whether it returned within activation checkpointing, which keeps nothing for backward

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what a head reads, where that has a gradient."""
        made: Any = self.nodes[0]
        return tuple(made._input_metadata[0].shape)


class Use(NamedTuple):
    """A parameter, and when it is used: the first and the last node that reads it."""

    parameter: nn.Parameter
    first: int
    last: int


@dataclass(frozen=True)
class Profile:
    """What one forward and no backward pass of the example showed."""

    batch: int
    rows: Rows | None  # how the example was doubled; None where it cannot be
    doubled: dict[str, torch.Size]  # of each submodule, the shape of what a head reads, with twice the samples
    exits: tuple[Exit, ...]  # in order; the last is the model's own
    uses: dict[str, Use]  # of each parameter, in the order of first use
    other_names: dict[str, list[str]]  # of each parameter, where several modules share it
    idle: dict[str, int]  # parameters that the example did not need, as of an expert it was not sent to: the last exit beside them
    edges: list[tuple[Node, Node]] = field(repr=False)  # of the graph: a node, and one that it reads
    crossings: list[tuple[int, int, Node]] = field(repr=False)  # a node, when it was made, and when it was last read
    saved: list[tuple[int, int, int]] = field(repr=False)  # exits so far, storage and bytes of each tensor kept for backward

    def kept_bytes(self, start: int, end: int) -> int:
        """Return the bytes a sample that are kept for the backward pass between two exits, each storage once."""
        storages = {storage: size for exits, storage, size in self.saved if start < exits <= end}
        return sum(storages.values()) // self.batch

    def operations(self, start: int, end: int) -> int:
        """Return the multiply-adds a sample of the forward pass between two exits; `start` = −1 is the input."""
        before = self.exits[start].operations if start >= 0 else 0
        return (self.exits[end].operations - before) // (2 * self.batch)

    def idle_parameters(self, start: int, end: int) -> list[str]:
        """Return the names of the parameters that other inputs may use between two exits; `start` = −1 is the input."""
        return [name for name, exit_ in self.idle.items() if start < exit_ <= end]

    def parameters(self, start: int, end: int) -> list[str]:
        """Return the names of the parameters that are used between two exits; `start` = −1 is the input."""
        since = self.exits[start].time if start >= 0 else -1
        return [name for name, use in self.uses.items() if since < use.first <= self.exits[end].time]

    def batch_axis(self, exit_: Exit) -> int | None:
        """Return the axis of the samples in what a head reads at an exit; None where there is none, or no telling.

        It is the one that grows with the batch. Where the example cannot be doubled it is the only one of the batch's size.
        """
        shape = exit_.shape
        sizes = self.doubled.get(exit_.name, shape)
        if len(sizes) != len(shape):
            return None
        grown = [axis for axis, size in enumerate(shape) if (sizes[axis] != size if self.rows else size == self.batch)]
        return grown[0] if len(grown) == 1 and shape[grown[0]] == self.batch else None

    def crossing(self, exit_: Exit) -> list[str]:
        """Return what crosses an exit beside its own output: tensors, in words."""
        own = set(exit_.nodes)
        return [self._origin(node) for made, read, node in self.crossings if made <= exit_.time < read and node not in own]

    def tied(self, exit_: Exit) -> list[str]:
        """Return the names of the parameters that are used on both sides of an exit."""
        return [name for name, use in self.uses.items() if use.first <= exit_.time < use.last]

    def _origin(self, node: Node) -> str:
        """Return which submodule made a tensor, or the operation that did."""
        return next((f"the output of {exit_.name!r}" for exit_ in self.exits if node in exit_.nodes), node.name())


def profile(model: nn.Module, example: Inputs) -> Profile:
    """Run the model in train mode on the example, without a backward pass and without leaving a trace.

    A model that cannot run it, hides what runs in it, holds nothing that can be trained or returns no logits is a CutError.
    """
    check_model(model)
    try:
        initialise_lazy_layers(model, example)
        with torch.inference_mode(False), torch.enable_grad(), without_side_effects(model):
            listener = _Listener(model.train())
            output = listener.record(example)
    except Exception as error:
        shape = f" of shape {list(example.shape)}" if isinstance(example, Tensor) else ""
        raise CutError(f"the model cannot run the example{shape}: {error}; give example, a small batch of inputs") from error
    logits = logits_of(output)
    if getattr(output, "past_key_values", None) is not None:
        kept = "the model returns past_key_values, so that keys and values of every stage are kept until the last is trained"
        warnings.warn(f"{kept}: set model.config.use_cache = False", stacklevel=4)  # past a decorator
    if logits.grad_fn is None:
        raise CutError("no parameter of the model requires a gradient: nothing can be trained")
    edges = list(_edges(logits.grad_fn))
    if any(read.name() == "CheckpointFunctionBackward" for _, read in edges):  # it will run again, with a graph of its own
        raise CutError(
            "the model runs torch.utils.checkpoint with use_reentrant=True, which hides what it trains: set use_reentrant=False"
        )
    uses = _uses(model, edges)
    rows, doubled = _with_twice_the_samples(model, example, len(logits))
    return Profile(
        batch=len(logits),
        rows=rows,
        doubled=doubled,
        edges=edges,
        exits=tuple(listener.exits),
        uses=uses,
        other_names=_other_names(model),
        idle=_idle(model, uses, listener.exits),
        crossings=_crossings(edges),
        saved=listener.saved,
    )


def _with_twice_the_samples(model: nn.Module, example: Inputs, count: int) -> tuple[Rows | None, dict[str, torch.Size]]:
    """Return how the example can be doubled, and the shape of the first tensor that each submodule then returns."""
    shapes: dict[str, torch.Size] = {}

    def shape_of(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, args: object, output: object) -> None:
            shapes.update((name, each.shape) for each in tensors_of(output)[:1])

        return hook

    def answers(x: Inputs) -> int:
        shapes.clear()
        return len(logits_of(call(model, x)))

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(without_side_effects(model))
        for name, module in model.train().named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                stack.enter_context(module.register_forward_hook(shape_of(name)))
        rows = find_rows(answers, example, count)
    return rows, shapes if rows else {}


class _Listener:
    """Listens to every submodule, and to autograd."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.exits: list[Exit] = []
        self.saved: list[tuple[int, int, int]] = []
        self._calls: list[tuple[int, int, int | None]] = []  # of the submodules that are running
        self._count = 0
        self._ids: dict[int, int] = {}  # of a tensor's stand-in: the id of the tensor
        self._own = {storage_id(tensor) for tensor in (*model.parameters(), *model.buffers()) if has_storage(tensor)}
        self._kept: list[object] = []  # so that no id is used again

    def record(self, example: Inputs) -> object:
        with ExitStack() as hooks, counting() as self._counter:
            for name, module in self.model.named_modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue  # takes no hooks
                hooks.enter_context(module.register_forward_pre_hook(self._enter))
                hooks.enter_context(module.register_forward_hook(self._leave(name)))
            hooks.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor))
            return call(self.model, example)

    def _enter(self, module: nn.Module, args: tuple[object, ...]) -> None:
        only = args[0] if len(args) == 1 and isinstance(args[0], Tensor) else None
        self._kept.append(only)
        self._calls.append((len(self.exits), self._count, None if only is None else self._id(only)))
        self._count += 1

    def _leave(self, name: str) -> Callable[[nn.Module, object, object], object]:
        def hook(module: nn.Module, args: object, output: object) -> object:
            entered, order, reads = self._calls.pop()
            output = replace_tensors(output, [self._stand_in(tensor) for tensor in tensors_of(output)])
            tensors = tensors_of(output)
            nodes = tuple(tensor.grad_fn for tensor in tensors)
            returns = self._id(tensors[0]) if tensors and nodes[0] else None
            operations, saved = self._counter.get_total_flops(), len(self.saved)
            with torch.inference_mode(False), torch.enable_grad():
                now = torch.ones((), requires_grad=True).exp().grad_fn  # a node made now, which keeps a tensor
            time, recomputed = now._sequence_nr(), len(self.saved) == saved  # type: ignore[union-attr]
            del self.saved[saved:]
            self.exits.append(Exit(name, len(self.exits), entered, order, time, operations, reads, returns, nodes, recomputed))
            return output

        return hook

    def _stand_in(self, tensor: Tensor) -> Tensor:
        """Return the same values as another tensor, with a node of its own; no view, which would change what works in place."""
        if tensor.grad_fn is None:
            return tensor
        found: Tensor = torch.ops.aten._unsafe_view(tensor, tensor.shape)
        self._ids[id(found)] = self._id(tensor)
        self._kept += tensor, found
        return found

    def _id(self, tensor: Tensor) -> int:
        return self._ids.get(id(tensor), id(tensor))

    def _pack(self, tensor: Tensor) -> Tensor:
        if has_storage(tensor) and (storage := storage_id(tensor)) not in self._own:
            self.saved.append((len(self.exits), storage, tensor.untyped_storage().nbytes()))
            self._kept.append(tensor.detach())
        return tensor


def storage_id(tensor: Tensor) -> int:
    """Return what tells a tensor's storage from others for as long as it lives; fake tensors have no address, but this."""
    found: int = tensor.untyped_storage()._cdata
    return found


def _edges(root: Node) -> Iterator[tuple[Node, Node]]:
    """Yield (reader, what it reads) for every node that the root depends on."""
    seen, waiting = {root}, [root]
    while waiting:
        reader = waiting.pop()
        reads = [read for read, _ in reader.next_functions if read is not None]
        yield from ((reader, read) for read in reads)
        waiting += dict.fromkeys(read for read in reads if read not in seen)
        seen.update(reads)


def parameters_behind(tensors: Iterable[Tensor]) -> set[nn.Parameter]:
    """Return the parameters that a loss on the tensors would reach."""
    roots = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    return {read.variable for root in roots for _, read in _edges(root) if hasattr(read, "variable")}


def _uses(model: nn.Module, edges: list[tuple[Node, Node]]) -> dict[str, Use]:
    """Return when each parameter is used, in the order of first use."""
    times: dict[int, list[int]] = {}
    for reader, read in edges:
        times.setdefault(id(getattr(read, "variable", None)), []).append(reader._sequence_nr())
    found = {name: (each, times[id(each)]) for name, each in model.named_parameters() if id(each) in times}
    return {name: Use(each, min(when), max(when)) for name, (each, when) in sorted(found.items(), key=lambda item: min(item[1][1]))}


def _other_names(model: nn.Module) -> dict[str, list[str]]:
    names: dict[int, list[str]] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            names.setdefault(id(parameter), []).append(name)
    return {first: others for first, *others in names.values()}


def _idle(model: nn.Module, uses: dict[str, Use], exits: list[Exit]) -> dict[str, int]:
    """Return the trainable parameters without a use, where something ran in the innermost module around them, and its last exit."""
    found: dict[str, int] = {}
    ran = {exit_.name for exit_ in exits}
    for name, parameter in model.named_parameters():
        around = name.rpartition(".")[0]
        if around in ran:  # without gradients
            continue
        while parameter.requires_grad and name not in uses and name not in found and "." in around:
            around = around.rpartition(".")[0]
            beside = [each.index for each in exits if each.name == around or each.name.startswith(around + ".")]
            if beside:
                found[name] = beside[-1]
    return found


def _crossings(edges: list[tuple[Node, Node]]) -> list[tuple[int, int, Node]]:
    """Return for every node that is no parameter: when it was made, when it was last read, and itself."""
    last_read: dict[Node, int] = {}
    for reader, read in edges:
        if not hasattr(read, "variable"):
            last_read[read] = max(last_read.get(read, -1), reader._sequence_nr())
    return [(node._sequence_nr(), read, node) for node, read in last_read.items()]
