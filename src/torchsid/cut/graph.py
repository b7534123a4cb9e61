"""Cut the graph of a model (`torch.fx`): every stage becomes a module of its own, which can be compiled or live elsewhere.

Whatever crosses a cut is carried along, so a long skip connection is no obstacle. The stages share the submodules of the model,
hence its parameters, buffers and train or eval modes.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn

from torchsid.core.calling import Inputs, layer_by_layer, logits_of, positional
from torchsid.core.cascade import Close
from torchsid.core.side_effects import without_side_effects
from torchsid.cut.boundary import replace_tensors, tensors_of
from torchsid.errors import CutError

_AS_IT_IS = "by='boundary', which runs the model as it is"
_Branching = bool | str | None  # the kinds of arguments on which code branches: a graph holds for one value of them


class GraphPiece:
    """Consecutive stages of a model, which read the values that cross the cut before them: the part of one worker.

    If it `ends_the_model`, the last of them returns the model's logits.
    """

    def __init__(self, modules: Sequence[fx.GraphModule], *, ends_the_model: bool) -> None:
        self.modules = tuple(modules)
        """The stages; outside `nn.Module`'s book-keeping, because their parameters are the model's."""
        self.ends_the_model = ends_the_model
        self.handed_on: tuple[Any, ...] = ()
        """The values that cross the cut behind the last stage, from when it has run on; with their graph, if there is one."""

    def run(self, model: nn.Module, x: Inputs, close: Close) -> None:
        """Run the stages on `x`, the tuple of values that the first one takes, a mask perhaps behind them; see `Segments.run`."""
        takes = sum(node.op == "placeholder" for node in self.modules[0].graph.nodes)
        values: Any = positional(x)[:takes]  # type: ignore[arg-type]  # no mapping: they are bound
        last = len(self.modules) - 1
        for i, module in enumerate(self.modules):
            _share_tensors(model, module)
            with layer_by_layer(), torch.set_grad_enabled(torch.is_grad_enabled()):  # whatever a stage that fails switches off
                values = module(*values)
            if i == last and self.ends_the_model:
                close(i, [logits_of(values)])
                return
            if i == last:
                self.handed_on = values
            values = replace_tensors(values, close(i, tensors_of(values)))


class GraphSegments(GraphPiece):
    """The stages of a model as `torch.fx.GraphModule`s: the values that cross a cut in, the values that cross the next one out.

    Stage i ends after the last operation of submodule `cuts[i]`. At a cut the newest floating-point tensor comes first: that is
    the one the head reads. The example is like the inputs that will come: arguments that it leaves out, or gives as None, a flag or
    a text, are fixed. A model that cannot be traced or never runs such a submodule is a CutError.
    """

    def __init__(self, model: nn.Module, cuts: Sequence[str], example: Inputs = ()) -> None:
        self._signature = inspect.signature(model.forward)
        given = self._arguments(example, self._signature.bind_partial)
        self._fixed = {name: value for name, value in given.items() if isinstance(value, _Branching)}
        graph, self._inputs = _trace(model, self._signature, self._fixed)
        stage_of = _assign(graph, cuts)
        crossing = [_crossing(stage_of, cut) for cut in range(len(cuts))]
        first = [node for node in graph.nodes if node.op == "placeholder"]
        stages = zip([first, *crossing], [*crossing, None], strict=True)
        modules = [_stage(model, graph, stage_of, i, reads, gives) for i, (reads, gives) in enumerate(stages)]
        super().__init__(modules, ends_the_model=True)

    def run(self, model: nn.Module, x: Inputs, close: Close) -> None:
        """Run the stages one after the other; see `Segments.run`."""
        super().run(model, self.bind(x), close)

    def piece(self, first: int, end: int) -> GraphPiece:
        """Return the stages `first … end−1` (from 0) as something that runs alone."""
        return GraphPiece(self.modules[first:end], ends_the_model=end == len(self.modules))

    def takes(self, x: Inputs) -> bool:
        """Return whether the graph holds for such inputs."""
        with suppress(CutError):
            self.bind(x)
            return True
        return False

    def bind(self, x: Inputs) -> tuple[Any, ...]:
        """Return the inputs in the order of the graph's placeholders; a CutError where they do not fit the model, or this graph."""
        values = self._arguments(x, self._signature.bind)
        for name, value in values.items():
            known = self._fixed.get(name)
            same = type(value) is type(known) and value == known if name in self._fixed else not isinstance(value, _Branching)
            if not same:
                was = f"{name}={known!r}" if name in self._fixed else f"a {name} that is given"
                now = f"the graph is that of {was}, but {name} is now {_shown(value)}"
                raise CutError(f"{now}: cut with an example like the inputs, or by='boundary'")
        return tuple(values[name] for name in self._inputs)

    def _arguments(self, x: Inputs, bind: Callable[..., inspect.BoundArguments]) -> dict[str, Any]:
        given, named = ((), x) if isinstance(x, Mapping) else (positional(x), {})
        try:
            bound = bind(*given, **named)
        except TypeError:
            names = list(self._signature.parameters)
            found = [*named, *names[: len(given)], *map(_shown, given[len(names) :])]
            raise CutError(f"the model takes {', '.join(names)}, but was given {', '.join(found)}") from None
        bound.apply_defaults()
        return bound.arguments


def _shown(value: object) -> str:
    return "a tensor" if isinstance(value, Tensor) else repr(value)


class _Tracer(fx.Tracer):
    """Notes at every node what `torch.fx` forgets, whether autograd was off, and refuses `torch.autocast`, which it forgets too."""

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        self._autocast = _autocast()
        with torch.enable_grad():
            return super().trace(root, concrete_args)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, torch.jit.ScriptModule) or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        if _autocast() != self._autocast:
            raise ValueError("torch.autocast within its forward would be lost")
        node = super().create_node(*args, **kwargs)
        node.meta["without_gradient"] = not torch.is_grad_enabled()
        return node


def _autocast() -> list[tuple[bool, torch.dtype]]:
    return [(torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in ("cpu", "cuda")]


def _trace(model: nn.Module, signature: inspect.Signature, fixed: dict[str, Any]) -> tuple[fx.Graph, list[str]]:
    """Return the graph for the fixed values of some arguments, and the names of the arguments that it reads."""
    devices = {parameter.device.type for parameter in model.parameters()}
    try:
        with ExitStack() as within:
            within.enter_context(without_side_effects(model))
            graph = _Tracer().trace(model.train(), fixed)
            for device in devices & {"cpu", "cuda"}:  # so that a region where it is switched off shows
                within.enter_context(torch.autocast(device, torch.bfloat16))
            other = _Tracer().trace(model.eval(), fixed)
    except Exception as error:  # whatever the model's own code raises when it meets a proxy
        raise CutError(f"{type(model).__name__} cannot be traced by torch.fx: {error}; use {_AS_IT_IS}") from error
    in_eval = {node.format_node() for node in other.nodes}
    if baked := [node.name for node in graph.nodes if node.format_node() not in in_eval]:
        way_out = f"use modules (nn.Dropout) where the code reads self.training, or {_AS_IT_IS}"
        raise CutError(f"the graph would bake the train or eval mode in at {', '.join(baked)}: {way_out}")
    variable = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD  # which torch.fx has last
    names = sorted(signature.parameters, key=lambda name: signature.parameters[name].kind in variable)
    inputs = dict(zip(names, [node for node in graph.nodes if node.op == "placeholder"], strict=True))
    for name, node in inputs.items():
        if name in fixed or not node.users:
            _erase(graph, node)
    return graph, [name for name, node in inputs.items() if not node._erased]


def _erase(graph: fx.Graph, node: fx.Node) -> None:
    """Erase an input, and the assertions that torch.fx makes about one that is fixed."""
    for reader in list(node.users):
        _erase(graph, reader)
    graph.erase_node(node)


def _assign(graph: fx.Graph, cuts: Sequence[str]) -> dict[fx.Node, int]:
    """Return the stage of every node."""
    ends: list[int] = []
    for name in cuts:
        end = max((k for k, node in enumerate(graph.nodes) if name in node.meta.get("nn_module_stack", {})), default=-1)
        if end <= max(ends, default=-1):
            raise CutError(f"the graph does not run {name!r}, or not behind the cuts before it: name them in the order that it has")
        ends.append(end)
    return {node: sum(k > end for end in ends) for k, node in enumerate(graph.nodes)}


def _crossing(stage_of: dict[fx.Node, int], cut: int) -> list[fx.Node]:
    """Return the nodes made before the cut and read behind it, the newest first; parameters are fetched where they are used."""
    return [
        node
        for node in reversed(stage_of)
        if node.op != "get_attr" and stage_of[node] <= cut and any(stage_of[reader] > cut for reader in node.users)
    ]


def _stage(
    model: nn.Module, graph: fx.Graph, stage_of: dict[fx.Node, int], index: int, reads: list[fx.Node], gives: list[fx.Node] | None
) -> fx.GraphModule:
    """Return one stage; `gives` is None for the last, which returns what the model returns."""
    stage = fx.Graph()
    copies = {node: stage.placeholder(node.name) for node in reads}

    def copy_of(node: fx.Node) -> fx.Node:
        if node not in copies and node.op == "get_attr":
            copies[node] = stage.node_copy(node)
        return copies[node]

    mode: fx.Node | None = None  # of autograd outside of where it is off
    for node in graph.nodes:
        if stage_of[node] == index and node.op not in ("placeholder", "output", "get_attr"):
            if node.meta["without_gradient"] != (mode is not None):
                mode = _switch(stage, mode)
            copies[node] = stage.node_copy(node, copy_of)
    if mode is not None:
        _switch(stage, mode)
    if gives is None:
        result = next(node for node in graph.nodes if node.op == "output").args[0]
        stage.output(fx.node.map_arg(result, copy_of))
    else:
        stage.output(tuple(copy_of(node) for node in gives))
    return fx.GraphModule(model, stage)


def _switch(stage: fx.Graph, mode: fx.Node | None) -> fx.Node | None:
    """Write into a stage that autograd is switched off, or back to what it was; return what it was before, if it is off."""
    before = stage.call_function(torch.is_grad_enabled) if mode is None else None
    stage.call_function(torch.set_grad_enabled, (False if mode is None else mode,))
    return before


def _share_tensors(model: nn.Module, module: fx.GraphModule) -> None:
    """Give a stage the model's parameters and buffers where it reads them by name: moving or loading a model may make new ones."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        current = attrgetter(name)(model)
        if tensor is not current:
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, current)
