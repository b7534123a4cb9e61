"""Cut the graph of a model (`torch.fx`): every stage becomes a module of its own, which can be compiled or live elsewhere.

Whatever crosses a cut is carried along, so a long skip connection is no obstacle. The stages share the submodules of the model,
hence its parameters, buffers and train or eval modes.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn

from torchsid.core.calling import Inputs, logits_of
from torchsid.core.cascade import Close
from torchsid.core.side_effects import without_side_effects
from torchsid.errors import CutError

_NO_DEFAULT = object()


class GraphPiece:
    """Consecutive stages of a model, which read the values that cross the cut before them: the part of one worker.

    Args:
        modules: the stages.
        ends_the_model: whether the last of them returns the model's logits.
    """

    def __init__(self, modules: Sequence[fx.GraphModule], *, ends_the_model: bool) -> None:
        self.modules = tuple(modules)
        """The stages; outside `nn.Module`'s book-keeping, because their parameters are the model's."""
        self.ends_the_model = ends_the_model
        self.handed_on: tuple[Any, ...] = ()
        """The values that cross the cut behind the last stage, from when it has run on; with their graph, if there is one."""

    def run(self, model: nn.Module, x: Inputs, close: Close) -> None:
        """Run the stages on `x`, the tuple of values that the first one takes; see `Segments.run`."""
        values: Any = x
        last = len(self.modules) - 1
        for i, module in enumerate(self.modules):
            _share_tensors(model, module)
            values = module(*values)
            if i == last and self.ends_the_model:
                close(i, [logits_of(values)])
                return
            if i == last:
                self.handed_on = values
            features = [k for k, value in enumerate(values) if isinstance(value, Tensor) and value.is_floating_point()]
            handed_on = dict(zip(features, close(i, [values[k] for k in features]), strict=True))
            values = tuple(handed_on.get(k, value) for k, value in enumerate(values))


class GraphSegments(GraphPiece):
    """The stages of a model as `torch.fx.GraphModule`s: the values that cross a cut in, the values that cross the next one out.

    Stage i ends after the last operation of submodule `cuts[i]`. At a cut the newest floating-point tensor comes first: that is
    the one the head reads.

    Args:
        model: the classifier.
        cuts: names of submodules.

    Raises:
        CutError: the model cannot be traced, has its train or eval mode baked in, or never runs a submodule of that name.
    """

    def __init__(self, model: nn.Module, cuts: Sequence[str]) -> None:
        graph = _trace(model)
        self._inputs = {node.target: node.args[0] if node.args else _NO_DEFAULT for node in graph.nodes if node.op == "placeholder"}
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

    def bind(self, x: Inputs) -> tuple[Any, ...]:
        """Return the inputs in the order of the graph's placeholders."""
        given = dict(x) if isinstance(x, Mapping) else dict(zip(self._inputs, x if isinstance(x, tuple) else (x,), strict=False))
        values = self._inputs | given
        missing = [name for name, value in values.items() if value is _NO_DEFAULT]
        if missing or len(values) > len(self._inputs):
            raise CutError(f"the model takes {', '.join(self._inputs)}, but was given {', '.join(given)}")
        return tuple(values.values())


def _trace(model: nn.Module) -> fx.Graph:
    try:
        with without_side_effects(model):
            graph, other = fx.Tracer().trace(model.train()), fx.Tracer().trace(model.eval())
    except Exception as error:  # whatever the model's own code raises when it meets a proxy
        raise CutError(
            f"{type(model).__name__} cannot be traced by torch.fx: {error}; use by='boundary', which runs the model as it is"
        ) from error
    in_eval = {node.format_node() for node in other.nodes}
    baked = [node.name for node in graph.nodes if node.format_node() not in in_eval]
    if baked:
        raise CutError(
            f"the graph would bake the train or eval mode in at {', '.join(baked)}: use modules (nn.Dropout) where the code "
            "reads self.training, or by='boundary', which runs the model as it is"
        )
    return graph


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

    for node in graph.nodes:
        if stage_of[node] == index and node.op not in ("placeholder", "output", "get_attr"):
            copies[node] = stage.node_copy(node, copy_of)
    if gives is None:
        result = next(node for node in graph.nodes if node.op == "output").args[0]
        stage.output(fx.node.map_arg(result, copy_of))
    else:
        stage.output(tuple(copy_of(node) for node in gives))
    return fx.GraphModule(model, stage)


def _share_tensors(model: nn.Module, module: fx.GraphModule) -> None:
    """Give a stage the model's parameters and buffers where it reads them by name: moving or loading a model may make new ones."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        current = attrgetter(name)(model)
        if tensor is not current:
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, current)
