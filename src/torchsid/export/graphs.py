"""The modules that are exported: a network from stored inputs to its answer, or its stages one by one."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from torchsid.core.beliefs import to_log_belief
from torchsid.core.calling import call, logits_of
from torchsid.core.shared import SharedCascade
from torchsid.core.staged import OwnHead, StagedCascade
from torchsid.cut.boundary import Boundaries, tensors_of
from torchsid.cut.graph import GraphSegments
from torchsid.errors import CutError, ExportError

Prepare = Callable[[Tensor], Tensor]


class Whole(nn.Module):
    """From stored inputs to the belief of the last stage, log-probabilities `[B, ..., C]`, by the deployed network alone."""

    def __init__(self, network: nn.Module, prepare: Prepare) -> None:
        super().__init__()
        self.network = network.model if isinstance(network, StagedCascade) and isinstance(network.heads[-1], OwnHead) else network
        self._prepare = prepare

    def forward(self, stored: Tensor) -> Tensor:
        """Return the belief."""
        return to_log_belief(logits_of(call(self.network, self._prepare(stored))))


class Chain(nn.Module):
    """From stored inputs to the belief of the last of some stages, `[B, ..., C]`."""

    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, stored: Tensor) -> Tensor:
        """Return the belief."""
        values: tuple[Tensor, ...] = (stored,)
        for stage in self.stages:
            values = stage(*values)
        return values[-1]


class SharedStage(nn.Module):
    """A stage of a shared cascade: stored inputs, or features and belief, to features and belief. The first has the extractor."""

    def __init__(self, cascade: SharedCascade, stage: int, prepare: Prepare) -> None:
        super().__init__()
        self._cascade, self._stage, self._prepare = (cascade,), stage, prepare  # a tuple hides the other stages from the graph
        self.extractor = None if stage else cascade.extractor
        self.own = cascade.stages[stage]

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Return the features, but of the last stage, and the belief."""
        (cascade,) = self._cascade
        if self._stage == 0:
            features = cascade.features(self._prepare(values[0]))
            values = features, cascade.prior(features)
        handed_on, logits = cascade.answer(self._stage, [values[0]], values[1])
        return (*(handed_on if self._stage + 1 < cascade.depth else []), to_log_belief(logits))


class StagedStage(nn.Module):
    """A piece of a trunk with its head: stored inputs, or what crosses a cut and the belief, to what crosses the next and a belief.

    A mask of the tokens, where the network has one, crosses with the rest, as the last but one.
    """

    def __init__(self, cascade: StagedCascade, segments: GraphSegments, stage: int, prepare: Prepare, *, masked: bool) -> None:
        super().__init__()
        self._cascade, self._stage, self._prepare, self._masked = (cascade,), stage, prepare, masked
        self.piece, self.head = segments.modules[stage], cascade.heads[stage]

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Return what crosses the next cut, nothing behind the last stage, and the belief."""
        (cascade,) = self._cascade
        first, last = self._stage == 0, self._stage + 1 == cascade.depth
        if first:
            x = self._prepare(values[0])
            mask = cascade.mask_of(x)
            crossing: list[Tensor] = [x]
        else:
            crossing = list(values[:-1])
            mask = crossing.pop() if self._masked else None
        beside = [] if mask is None else [mask]
        found = self.piece(*crossing)
        read = [logits_of(found)] if last else tensors_of(found)
        before = cascade.prior(read[0]) if first else values[-1]
        _, logits = cascade.answer(self._stage, [*read, *beside], before)
        return (*([] if last else [*found, *beside]), to_log_belief(logits))


def stages_of(cascade: nn.Module, prepare: Prepare, stored: Tensor) -> list[nn.Module]:
    """Return a module for each stage, of which the first reads stored inputs `[B, ...]` as the given ones are.

    Raises:
        ExportError: it is another kind of cascade, or torch.fx cannot make modules of the pieces.
    """
    if isinstance(cascade, SharedCascade):
        return [SharedStage(cascade, stage, prepare) for stage in range(cascade.depth)]
    try:
        if not isinstance(cascade, StagedCascade):
            raise CutError(f"a {type(cascade).__name__} has no pieces")
        x, own = prepare(stored), cascade.segments
        assert isinstance(own, Boundaries | GraphSegments)
        segments = own if isinstance(own, GraphSegments) else GraphSegments(cascade.model, own.cuts, x)
    except CutError as error:
        raise ExportError(f"the stages cannot be told apart: {error}; export the whole network, without exits and stages") from None
    masked = cascade.mask_of(x) is not None
    return [StagedStage(cascade, segments, stage, prepare, masked=masked) for stage in range(cascade.depth)]
