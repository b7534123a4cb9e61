"""The pipelines of `torch.distributed.pipelining`: backpropagation, with a batch cut into micro-batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, schedules
from torch.nn import functional as F

from torchsid.bench.contenders import Procedure
from torchsid.bench.pieces import Chain, cut
from torchsid.bench.recorder import BACKWARD, FORWARD, Recorder
from torchsid.bench.trainable import Trainable, new_optimizer
from torchsid.bench.workload import Workload
from torchsid.distributed.assign import assign
from torchsid.distributed.world import World

GPIPE: Final = "gpipe"
ONE_F_ONE_B: Final = "1f1b"
ZERO_BUBBLE: Final = "zero bubble"
ZERO_BUBBLE_V: Final = "zero bubble v"

RIVALS = (GPIPE, ONE_F_ONE_B, ZERO_BUBBLE, ZERO_BUBBLE_V)
"""Backpropagation's pipelines: `ScheduleGPipe`, `Schedule1F1B`, `ScheduleInterleavedZeroBubble` with one piece a worker (ZB1P), and
`ScheduleZBVZeroBubble` with two, of `torch.distributed.pipelining`."""

_Loss = Callable[[Tensor, Tensor], Tensor]


class _Stage(PipelineStage):
    """A stage that records when it computes, and counts what it sends."""

    def __init__(self, module: nn.Module, index: int, number: int, recorder: Recorder) -> None:
        super().__init__(module, index, number, torch.device("cpu"))
        self.recorder = recorder
        self.sent_bytes = 0

    def forward_one_chunk(
        self, fwd_chunk_id: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, save_forward_output: bool = True
    ) -> Any:
        with self.recorder.during(FORWARD):
            return super().forward_one_chunk(fwd_chunk_id, args, kwargs, save_forward_output)

    def backward_one_chunk(
        self, bwd_chunk_id: int, loss: Tensor | None = None, full_backward: bool = True, last_backward: bool = False
    ) -> None:
        with self.recorder.during(BACKWARD):
            super().backward_one_chunk(bwd_chunk_id, loss, full_backward, last_backward)

    def backward_weight_one_chunk(self, bwd_chunk_id: int, last_backward: bool = False) -> None:
        with self.recorder.during(BACKWARD):
            super().backward_weight_one_chunk(bwd_chunk_id, last_backward)

    def get_fwd_send_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        return self._counted(super().get_fwd_send_ops(fwd_chunk_id))

    def get_bwd_send_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        return self._counted(super().get_bwd_send_ops(bwd_chunk_id))

    def _counted(self, operations: list[dist.P2POp]) -> list[dist.P2POp]:
        self.sent_bytes += sum(operation.tensor.nbytes for operation in operations)
        return operations


def pipeline(workload: Workload, contender: Procedure, world: World, seconds: Sequence[float]) -> Trainable:
    """Return this worker's part of a pipeline.

    Args:
        workload: the model and the batch.
        contender: the schedule, a name of `RIVALS`, and the number of micro-batches.
        world: of the workers; the pipeline runs along all of them.
        seconds: of each stage, by which the pieces are balanced.
    """
    number = world.size * (2 if contender.method == ZERO_BUBBLE_V else 1)
    own = {world.rank, number - 1 - world.rank} if contender.method == ZERO_BUBBLE_V else {world.rank}
    recorder, (_, modules) = Recorder(), cut(workload)
    stages = [
        _Stage(Chain(modules[piece.start : piece.stop]), index, number, recorder)
        for index, piece in enumerate(assign(seconds, number))
        if index in own
    ]
    del modules  # of the other workers

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        with recorder.during(FORWARD):
            return F.cross_entropy(logits, target)

    schedule = _SCHEDULES[contender.method](stages, contender.micro_batches, loss)
    trained = nn.ModuleList(stage.submod for stage in stages)
    optimizer = new_optimizer(trained)
    recorder.follow_updates(optimizer)
    x, target = workload.batch()
    inputs = (x,) if 0 in own else ()
    targets = target if number - 1 in own else None

    def step() -> None:
        optimizer.zero_grad()
        schedule.step(*inputs, target=targets, return_outputs=False)
        optimizer.step()

    return Trainable(module=trained, step=step, recorder=recorder, sent_bytes=lambda: sum(stage.sent_bytes for stage in stages))


_SCHEDULES: Mapping[str, Callable[[list[_Stage], int, _Loss], Any]] = {
    GPIPE: lambda stages, number, loss: schedules.ScheduleGPipe(stages[0], number, loss),
    ONE_F_ONE_B: lambda stages, number, loss: schedules.Schedule1F1B(stages[0], number, loss),
    ZERO_BUBBLE: lambda stages, number, loss: schedules.ScheduleInterleavedZeroBubble(list(stages), number, loss),
    ZERO_BUBBLE_V: lambda stages, number, loss: schedules.ScheduleZBVZeroBubble(list(stages), number, loss),
}
