"""What a process is doing, by the clock. Hooks on modules and optimisers tell it, so that what is timed is the real step.

The parts of a step of SID: the extractor's are all of its passes and its update. Phase 1 is the chain of stages without gradients,
which makes the teachers; of a staged cascade, which has no extractor, the forward pass of trunk and heads. Phase 2 is the local
losses, every stage forward and backward; of a staged cascade their backward passes. The updates are those of the stages.

Extractor and phase 1 run one after another: a stage needs the belief of the one before it, and all need the extractor. Phase 2 and
the updates are L problems that know nothing of one another.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.staged import StagedCascade
from torchsid.learners.sid import SID

FORWARD, HEAD, BACKWARD, UPDATE = "forward", "head", "backward", "update"
EXTRACTOR, EXTRACTOR_UPDATE = "extractor", "extractor update"
TEACHERS, STAGES = "phase 1", "phase 2"


class Span(NamedTuple):
    """Something that was done; times in seconds."""

    what: str
    start: float
    end: float


class Recorder:
    """Collects what was done when. `perf_counter` is one clock for all processes of a machine.

    The `rest` is what is done when nothing else is said to be; empty for waiting, which leaves a gap. A CUDA device is waited for
    at every reading of the clock.
    """

    def __init__(self, rest: str = "", device: str = "cpu") -> None:
        self.rest = rest
        self._cuda = torch.device(device) if device.startswith("cuda") else None
        self._intervals: list[Span] = []
        self._open: tuple[str, float] | None = None

    def begin(self, what: str) -> None:
        """Something else begins; what was under way ends."""
        if self._cuda:
            torch.cuda.synchronize(self._cuda)
        now = perf_counter()
        if self._open is not None:
            self._intervals.append(Span(*self._open, now))
        self._open = (what, now) if what else None

    def end(self) -> None:
        """What was under way ends; the rest goes on."""
        self.begin(self.rest)

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Record one interval."""
        self.begin(what)
        yield
        self.end()

    def take(self) -> tuple[Span, ...]:
        """Return what was collected, and begin anew."""
        self.begin("")
        taken, self._intervals = tuple(self._intervals), []
        return taken

    def follow(self, first: nn.Module | None, last: nn.Module) -> None:
        """Record that forward goes from the start of `first`, if it has one to hook, to the end of `last`; backward comes next."""
        if first is not None:
            first.register_forward_pre_hook(lambda module, args: self.begin(FORWARD))
        last.register_forward_hook(lambda module, args, output: self.begin(BACKWARD))

    def follow_extractor(self, extractor: nn.Module) -> None:
        """Record an extractor, forward and backward; what follows a pass without gradients is phase 1, and phase 2 the other."""

        def ran(module: nn.Module, args: object, features: Tensor) -> None:
            self.begin(STAGES if torch.is_grad_enabled() else TEACHERS)
            if features.requires_grad:
                features.register_hook(lambda gradient: self.begin(EXTRACTOR))  # type: ignore[no-untyped-call]

        extractor.register_forward_pre_hook(lambda module, args: self.begin(EXTRACTOR))
        extractor.register_forward_hook(ran)

    def follow_updates(self, optimizer: Optimizer, what: str = UPDATE) -> None:
        """Record the steps of an optimiser."""
        optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: self.begin(what))
        optimizer.register_step_post_hook(lambda optimizer, args, kwargs: self.end())


def seconds_by_kind(intervals: Iterable[Span]) -> dict[str, float]:
    """Return the seconds of everything that was done."""
    seconds = defaultdict[str, float](float)
    for what, start, end in intervals:
        seconds[what] += end - start
    return dict(seconds)


def sid_seconds(
    cascade: StagedCascade, x: Tensor, target: Tensor, optimizer: Optimizer, *, candidates: int = 0, repeats: int = 5
) -> list[dict[str, float]]:
    """Return the median seconds that SID takes on each stage: `forward`, `head` (forward and backward), `backward`, `update`.

    They are those of real steps of the cascade, in train mode, which change the weights; one that warms up goes before. Where no
    logits are made (`SID.logits_wait`), hooks do not see the last stage's loss and backward pass, and they count as forward.
    """
    recorder, kinds = Recorder(FORWARD), (FORWARD, HEAD, BACKWARD, UPDATE)
    recorder.follow_updates(optimizer)
    learner = SID(cascade, candidates=candidates, optimizer=optimizer)
    waiting = learner.logits_wait(target)

    def read(head: nn.Module, args: tuple[Tensor, ...]) -> None:
        recorder.begin(HEAD)
        # When the features have their gradient, the head is done.
        args[0].register_hook(lambda gradient: recorder.begin(BACKWARD))  # type: ignore[no-untyped-call]

    heads = [getattr(head, "body", head) if waiting else head for head in cascade.heads]
    hooks = [head.register_forward_pre_hook(read) for head in heads]
    steps = []
    for _ in range(1 + repeats):
        recorder.end()  # of waiting: the step begins
        learner.step(x, target)
        stages = [dict.fromkeys(kinds, 0.0)]
        for what, start, end in recorder.take():
            stages[-1][what] += end - start
            if what == UPDATE:
                stages.append(dict.fromkeys(kinds, 0.0))
        steps.append(stages[: cascade.depth])
    for hook in hooks:
        hook.remove()
    return [{what: median(step[stage][what] for step in steps[1:]) for what in kinds} for stage in range(cascade.depth)]


PARTS = (EXTRACTOR, TEACHERS, STAGES, UPDATE)
SERIAL = (EXTRACTOR, TEACHERS)
_PART_OF = {EXTRACTOR_UPDATE: EXTRACTOR, FORWARD: TEACHERS, BACKWARD: STAGES}


def shares(step: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each part in the seconds of a step; they add up to 1."""
    whole = sum(step.values())
    found = defaultdict[str, float](float)
    for what, seconds in step.items():
        found[_PART_OF.get(what, what)] += seconds / whole
    return dict(found)


def serial_share(parts: Mapping[str, float]) -> float:
    """Return `s`, the share of a step that runs one after another however many workers there are."""
    return sum(parts.get(part, 0.0) for part in SERIAL)


def bound(share: float, workers: float) -> float:
    """Return the most that workers can gain on one batch, `1 / (s + (1 − s) / n)` (Amdahl, 1967).

    >>> bound(0.5, 2), bound(0.0, 64)
    (1.3333333333333333, 64.0)
    """
    return 1 / (share + (1 - share) / workers)
