"""The order of events within one training step: with SID, stage i is updated before stage i+1 runs forward."""

from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from typing import Any

from torchsid.bench.contenders import BACKPROP, SID, Contender
from torchsid.bench.recorder import FORWARD, UPDATE
from torchsid.bench.trainable import Trainable, build
from torchsid.bench.workload import Workload
from torchsid.core.staged import StagedCascade


def trace_steps(workload: Workload) -> list[dict[str, Any]]:
    """Return the events of a step of SID with the most stages, then of backpropagation cut at the same places.

    A stage has run forward when its head returns (without heads: when the submodule before the cut does), and is updated when the
    optimiser's step returns. A step of warm-up goes before.

    Returns:
        `contender`, `what` happened, and how many `milliseconds` after the step began; ready for JSON.

    Raises:
        CutError: the model cannot be cut so.
    """
    most = max(workload.stages)
    contender = Contender(SID, most)
    sid = build(workload, contender, follow=True)
    backprop = build(workload, Contender(BACKPROP), follow=True)
    assert isinstance(sid.module, StagedCascade)
    assert sid.module.plan is not None
    for number, stage in enumerate(sid.module.plan.stages[:-1], 2):  # the last ends with the model, which is followed already
        piece = backprop.module.get_submodule(stage.cut)
        piece.register_forward_hook(lambda *told, number=number: backprop.recorder.begin(f"{FORWARD} {number}"))
    updated = [f"stage {stage} updated" for stage in range(1, most + 1)]
    return [*_events(contender.name, sid, updated), *_events(BACKPROP, backprop, ["all stages updated"])]


def _events(name: str, trainable: Trainable, updated: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the events of one step; `updated` names the optimiser's steps in turn."""
    trainable.watched_step()
    intervals = trainable.watched_step()
    forward, updates = count(1), iter(updated)
    for before, after in pairwise(intervals):
        if before.what == UPDATE:
            what = next(updates)
        elif before.what.startswith(FORWARD) and before.what != after.what:
            what = f"stage {next(forward)} forward"
        else:
            continue
        yield {"contender": name, "what": what, "milliseconds": 1e3 * (before.end - intervals[0].start)}
