"""The pieces of a cut network: as modules, of which pipelines are made, and what each of them takes."""

from collections.abc import Mapping, Sequence
from statistics import median

from torch import Tensor, fx, nn
from torch.optim import SGD, Optimizer

from torchsid.bench.recorder import BACKWARD, FORWARD, UPDATE, Recorder
from torchsid.bench.workload import BACKPROP, SID, Workload
from torchsid.core.staged import StagedCascade
from torchsid.cut.graph import GraphSegments
from torchsid.learners import sid

HEAD = "head"
Seconds = Mapping[str, Sequence[float]]
"""What each stage takes, with its belief head (`sid`) and without (`backprop`)."""


class Chain(nn.Sequential):
    """Consecutive stages, of `GraphSegments.modules`: takes the values that cross the cut before, gives those of the one behind."""

    def forward(self, *values: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Return the values that cross the next cut; the model's logits `[B, C]` at its end."""
        for stage in self:
            values = stage(*values)
        return values


def cut(workload: Workload) -> tuple[StagedCascade, tuple[fx.GraphModule, ...]]:
    """Return the workload's model cut into its number of stages, and the stages as modules, without heads."""
    (stages,) = workload.stages
    cascade = workload.new_cascade(stages, by="graph")
    assert isinstance(cascade, StagedCascade)
    assert isinstance(cascade.segments, GraphSegments)
    return cascade, cascade.segments.modules


def sid_seconds(
    cascade: StagedCascade, x: Tensor, target: Tensor, optimizer: Optimizer, *, repeats: int = 5
) -> list[dict[str, float]]:
    """Return the median seconds that SID takes on each stage: `forward`, `head` (forward and backward), `backward`, `update`.

    They are those of real steps, which change the weights.

    Args:
        cascade: in train mode.
        x: images `[B, C, S, S]`.
        target: classes `[B]`.
        optimizer: over its parameters.
        repeats: steps that are timed, after one that warms up.
    """
    recorder = Recorder(FORWARD)
    recorder.follow_updates(optimizer)

    def read(head: nn.Module, args: tuple[Tensor, Tensor]) -> None:
        recorder.begin(HEAD)
        # When the features have their gradient, the head is done.
        args[0].register_hook(lambda gradient: recorder.begin(BACKWARD))  # type: ignore[no-untyped-call]

    hooks = [head.register_forward_pre_hook(read) for head in cascade.heads]
    learner, steps, kinds = sid.SID(cascade, optimizer=optimizer), [], (FORWARD, HEAD, BACKWARD, UPDATE)
    for _ in range(1 + repeats):
        recorder.end()  # of waiting: the step begins
        learner.step(x, target)
        intervals = recorder.take()[: len(kinds) * cascade.depth]
        assert tuple(each.what for each in intervals) == kinds * cascade.depth
        steps.append([each.end - each.start for each in intervals])
    for hook in hooks:
        hook.remove()
    seconds = [median(column) for column in zip(*steps[1:], strict=True)]
    return [dict(zip(kinds, seconds[first:], strict=False)) for first in range(0, len(seconds), len(kinds))]


def seconds_of_stages(workload: Workload) -> Seconds:
    """Return the median seconds that forward and backward of each stage take on the whole batch."""
    cascade, _ = cut(workload)
    parts = sid_seconds(cascade, *workload.batch(), SGD(cascade.parameters(), lr=0.01))
    trunk = [each[FORWARD] + each[BACKWARD] for each in parts]
    return {SID: [own + each[HEAD] for own, each in zip(trunk, parts, strict=True)], BACKPROP: trunk}
