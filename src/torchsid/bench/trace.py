"""The order of events within one training step, observed from outside by hooks on modules and optimiser.

With SID, stage i is updated before stage i+1 runs forward; with backpropagation nothing is updated before everything has run.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn

from torchsid.bench.contenders import BACKPROP, Contender, Entry, build
from torchsid.bench.steps import synchronize
from torchsid.bench.workload import Workload
from torchsid.core.staged import StagedCascade


@dataclass(frozen=True)
class Event:
    """Something happened `milliseconds` after the step began."""

    contender: str
    what: str
    milliseconds: float


def trace_steps(workload: Workload) -> list[Event]:
    """Return the events of a step of SID with the most stages, then of backpropagation cut at the same places.

    A stage has run forward when its head returns (without heads: when the submodule before the cut does), and is updated when the
    optimiser's step returns. A step of warm-up goes before.

    Raises:
        CutError: the model cannot be cut so.
    """
    most = max(workload.stages)
    entry = Entry("sid", most)
    sid, backprop = build(workload, entry), build(workload, Entry(BACKPROP))
    assert isinstance(sid.module, StagedCascade)
    assert sid.plan is not None
    device = torch.device(workload.device)
    ends = [backprop.module.get_submodule(stage.cut) for stage in sid.plan.stages]  # the last is the model, under the empty name
    updated = [f"stage {stage} updated" for stage in range(1, most + 1)]
    return [
        *_observe(entry.name, sid, list(sid.module.heads), updated, device),
        *_observe(BACKPROP, backprop, ends, ["all stages updated"], device),
    ]


def _observe(
    name: str, contender: Contender, ends: Sequence[nn.Module], updated: Sequence[str], device: torch.device
) -> list[Event]:
    """Return the events of one step; `ends` return when stages have run, `updated` names the optimiser's steps in turn."""
    events: list[Event] = []
    names = iter(updated)

    def log(what: str) -> None:
        synchronize(device)
        events.append(Event(name, what, 1e3 * (time.perf_counter() - start)))

    def forward_done(stage: int) -> Callable[..., None]:
        return lambda module, args, output: log(f"stage {stage} forward")

    def step_done(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        log(next(names))

    contender.step()
    with ExitStack() as hooks:
        for stage, module in enumerate(ends, 1):
            hooks.callback(module.register_forward_hook(forward_done(stage)).remove)
        hooks.callback(contender.optimizer.register_step_post_hook(step_done).remove)
        synchronize(device)
        start = time.perf_counter()
        contender.step()
    return events
