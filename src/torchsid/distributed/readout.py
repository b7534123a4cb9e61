"""The readout that the last worker trains and the heads of all others read: the one thing that travels back.

Every S steps the last worker sends what it has then, and waits for nothing. A worker before it takes that message when it is S
steps further, as in one process (`core/readout.py`); it waits only if it is then more than S steps ahead of the last one.
"""

import torch

from torchsid.core.readout import ReadoutCopy
from torchsid.distributed.channel import Handover, Incoming, Outgoing
from torchsid.distributed.world import World

_TAG = 2
_PROCESSOR = torch.device("cpu")


class SharedReadout:
    """This worker's copy of the readout, and how it is refreshed. The numbers are exact, whatever `wire` does to features.

    Args:
        copy: it; the layer is still here, on every worker.
        world: this worker's place.
    """

    def __init__(self, copy: ReadoutCopy, world: World) -> None:
        for (now, coming), newest in zip(copy.held, copy.newest, strict=True):
            now.copy_(newest)
            coming.copy_(newest)
        self._copy, position, last = copy, world.position, world.positions - 1
        largest = self._message()
        self.outgoing = [
            Outgoing(world, largest, queue=1, step=other - last, tag=_TAG, device=_PROCESSOR)
            for other in range(last * world.is_last)
        ]
        """The channels to the workers before, of the last one."""
        self._incoming = None
        if not world.is_last:
            self._incoming = Incoming(world, largest, queue=1, step=position - last, tag=_TAG, device=_PROCESSOR)
        self._expects = False  # the message that is the coming one here
        self._coming = [coming for _, coming in copy.held]  # an evaluation, which settles, has copies in their place meanwhile

    def begin_step(self) -> None:
        """Take notice that a step begins; send or receive what is due."""
        if int(self._copy.steps) % self._copy.refresh:
            self._copy.steps += 1
        elif self._incoming:
            self.settle()
            for now, coming in self._copy.held:
                now.copy_(coming)
            self._copy.steps += 1
            self._expects = True
        else:
            for channel in self.outgoing:
                channel.send(self._message())
            self._copy.begin_step()

    def settle(self) -> None:
        """Receive what the last worker has sent in the present period, so that all workers hold the same."""
        if self._incoming and self._expects:
            for coming, newest in zip(self._coming, self._incoming.receive().values, strict=True):
                coming.copy_(newest)
            self._expects = False

    def _message(self) -> Handover:
        return Handover(self._copy.newest, torch.empty(0), torch.empty(0))
