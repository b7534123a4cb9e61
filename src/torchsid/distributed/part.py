"""One worker's part of a staged cascade: a few consecutive stages that run alone, and weights for nothing else."""

from collections.abc import Iterable

from torch import nn

from torchsid.core.cascade import Cascade
from torchsid.core.staged import StagedCascade
from torchsid.cut.graph import GraphSegments
from torchsid.errors import CutError


def take_part(cascade: StagedCascade, stages: range) -> StagedCascade:
    """Return the stages as a cascade of their own, and drop the tensors of all others from `cascade`.

    The part reads the tuple of values that cross the cut before it. What `cascade` still holds keeps its name, so that its state
    dict is a part of the whole one.

    Raises:
        CutError: the cascade was not cut by its graph.
    """
    segments = cascade.segments
    if not isinstance(segments, GraphSegments):
        raise CutError("stages of a cascade cut by='boundary' cannot live on different workers: build it with by='graph'")
    piece = segments.piece(stages.start, stages.stop)
    part = StagedCascade(
        cascade.model,
        cascade.heads[stages.start : stages.stop],
        piece,
        cascade.num_classes,
        owned=cascade.owned[stages.start : stages.stop],
        log_prior=cascade.log_prior,
        overwritten={stage - stages.start for stage in cascade.overwritten if stage in stages},
    )
    drop_others(cascade, (part.heads, *piece.modules))
    return part


def drop_others(cascade: Cascade, kept: Iterable[nn.Module]) -> None:
    """Replace the parameters and buffers of the cascade that none of the modules holds by None; the prior stays."""
    own = {id(tensor) for module in kept for tensor in (*module.parameters(), *module.buffers())}
    own |= {id(tensor) for tensor in cascade.buffers(recurse=False)}
    for module in cascade.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and id(tensor) not in own:
                    tensors[name] = None
