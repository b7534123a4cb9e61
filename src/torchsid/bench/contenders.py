"""What is compared: the ways to train one classifier by one batch, each as a function that takes a step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn
from torch.optim import SGD, Optimizer

from torchsid.bench.checkpointing import Checkpointed
from torchsid.bench.workload import Workload
from torchsid.core.cut_plan import Plan
from torchsid.core.kept_bytes import kept_bytes
from torchsid.core.staged import StagedCascade
from torchsid.errors import CutError, HeadError
from torchsid.learners.backprop import Backprop
from torchsid.learners.sid import SID

BACKPROP, CHECKPOINTING = "backprop", "checkpointing"
MICRO_BATCHES = 4
DEEPEST_SUPERVISION = 4


@dataclass(frozen=True)
class Entry:
    """A contender before it is built: a method, and the stages that it cuts the model into (1: not cut)."""

    method: str
    stages: int = 1

    @property
    def name(self) -> str:
        """The method; for SID with its stages."""
        return f"{self.method}-{self.stages}" if self.method == "sid" else self.method


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A network with its own weights and one way to train it."""

    module: nn.Module
    optimizer: Optimizer
    step: Callable[[], object]
    """Forward, backward and update."""
    plan: Plan | None = None
    """Of a cut model: what its heads add."""

    def kept_bytes(self) -> int:
        """Return the most that autograd keeps for backward during a step, which is taken; see `torchsid.core.kept_bytes`."""
        if not isinstance(self.module, Checkpointed):
            return kept_bytes(self.module, self.step)
        self.module.reentrant = True
        try:
            self.step()  # compiles anew, if anything is compiled
            return kept_bytes(self.module, self.step)
        finally:
            self.module.reentrant = False


def entries(workload: Workload) -> list[Entry]:
    """Return what is compared on a workload, backpropagation first."""
    supervised = [stages for stages in workload.stages if stages <= DEEPEST_SUPERVISION]
    return [
        Entry(BACKPROP),
        Entry(CHECKPOINTING, max(workload.stages)),
        Entry("accumulation"),
        *(Entry("deep supervision", stages) for stages in supervised[-1:]),
        *(Entry("sid", stages) for stages in workload.stages),
    ]


def build(workload: Workload, entry: Entry) -> Contender:
    """Return a contender with fresh weights, the same for all that share their shapes.

    Raises:
        CutError: the model cannot be cut as the method needs it.
    """
    return _BUILDERS[entry.method](workload, entry.stages)


@contextmanager
def excused(workload: Workload, why: list[str]) -> Iterator[None]:
    """Turn an error that says that a contender cannot be had on this workload into a reason."""
    try:
        yield
    except (CutError, HeadError) as error:
        why.append(str(error))
    except RuntimeError as error:  # as all errors of the compiler are
        if not workload.compiled:
            raise
        why.append(f"fails when compiled: {' '.join(str(error).split())[:200]}")


def _backprop(workload: Workload, stages: int) -> Contender:
    return _end_to_end(workload, _compiled(workload, workload.new_model()))


def _checkpointing(workload: Workload, stages: int) -> Contender:
    plan = workload.new_cascade(stages).plan
    assert plan is not None
    module = Checkpointed(workload.new_model(), [stage.cut for stage in plan.stages[:-1]])
    if workload.compiled:
        module.segments.compile()
    return _end_to_end(workload, module)


def _accumulation(workload: Workload, stages: int) -> Contender:
    return _end_to_end(workload, _compiled(workload, workload.new_model()), micro_batches=MICRO_BATCHES)


def _end_to_end(workload: Workload, module: nn.Module, *, micro_batches: int = 1) -> Contender:
    learner, optimizer = Backprop(module), _optimizer(module)
    x, target = workload.batch()
    parts = list(zip(x.tensor_split(micro_batches), target.tensor_split(micro_batches), strict=True))

    def step() -> None:
        optimizer.zero_grad()
        for part, classes in parts:
            with workload.arithmetic():
                learner.backward(part, classes, scale=len(part) / len(x))
        optimizer.step()

    return Contender(module=module, optimizer=optimizer, step=step)


def _deep_supervision(workload: Workload, stages: int) -> Contender:
    cascade = _compiled_stages(workload, workload.new_cascade(stages))
    learner, optimizer = SID(cascade, window=cascade.depth), _optimizer(cascade)
    x, target = workload.batch()

    def step() -> None:
        optimizer.zero_grad()
        with workload.arithmetic():
            learner.backward(x, target)
        optimizer.step()

    return Contender(module=cascade, optimizer=optimizer, step=step, plan=cascade.plan)


def _sid(workload: Workload, stages: int) -> Contender:
    cascade = _compiled_stages(workload, workload.new_cascade(stages))
    optimizer = _optimizer(cascade)
    learner = SID(cascade, optimizer=optimizer)
    x, target = workload.batch()

    def step() -> None:
        with workload.arithmetic():
            learner.step(x, target)

    return Contender(module=cascade, optimizer=optimizer, step=step, plan=cascade.plan)


_BUILDERS: dict[str, Callable[[Workload, int], Contender]] = {
    BACKPROP: _backprop,
    CHECKPOINTING: _checkpointing,
    "accumulation": _accumulation,
    "deep supervision": _deep_supervision,
    "sid": _sid,
}


def _optimizer(module: nn.Module) -> SGD:
    return SGD(module.parameters(), lr=0.01, momentum=0.9)


def _compiled(workload: Workload, module: nn.Module) -> nn.Module:
    if workload.compiled:
        module.compile()
    return module


def _compiled_stages(workload: Workload, cascade: StagedCascade) -> StagedCascade:
    if workload.compiled:
        cascade.compile_stages()
    return cascade
