"""What a worker is doing, by the clock: forward, backward, update; in between it waits."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from torch import nn
from torch.optim import Optimizer

from torchsid.bench.pipeline.turns import Interval


class Recorder:
    """Collects the intervals in which a worker was busy. `perf_counter` is one clock for all processes of a machine."""

    def __init__(self) -> None:
        self._intervals: list[Interval] = []
        self._open: tuple[str, float] | None = None

    def begin(self, what: str) -> None:
        """Something else begins; what was under way ends."""
        self.end()
        self._open = what, perf_counter()

    def end(self) -> None:
        """What was under way ends; the worker waits."""
        if self._open is not None:
            what, start = self._open
            self._intervals.append(Interval(what, start, perf_counter()))
            self._open = None

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Record one interval."""
        self.begin(what)
        yield
        self.end()

    def take(self) -> tuple[Interval, ...]:
        """Return what was collected, and begin anew."""
        taken, self._intervals = tuple(self._intervals), []
        return taken

    def follow(self, first: nn.Module, last: nn.Module) -> None:
        """Record that forward goes from the start of `first` to the end of `last`, and that backward comes next."""
        first.register_forward_pre_hook(lambda module, args: self.begin("forward"))
        last.register_forward_hook(lambda module, args, output: self.begin("backward"))

    def follow_updates(self, optimizer: Optimizer) -> None:
        """Record the steps of an optimiser."""
        optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: self.begin("update"))
        optimizer.register_step_post_hook(lambda optimizer, args, kwargs: self.end())
