"""One training step of every procedure on the same shared cascade, interleaved in one process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from torchsid import models
from torchsid.bench.reference import reference_backward
from torchsid.bench.turns import STEPS_A_TURN, quartiles, ratio, take_turns
from torchsid.core import schedules
from torchsid.core.kept_bytes import kept_bytes
from torchsid.core.objective import LocalObjective
from torchsid.core.shared import SharedCascade, shared_cascade
from torchsid.learners.backprop import Backprop
from torchsid.learners.sid import SID
from torchsid.training.provenance import provenance

CLASSES, FEATURES, HIDDEN = 100, 128, 256
REFERENCE, BACKPROP = "reference", "backprop"


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One procedure at one depth. Times in milliseconds: median and quartiles over the rounds."""

    depth: int
    procedure: str
    gradients_ms: float
    """Zeroing and computing all gradients."""
    gradients_quartiles_ms: tuple[float, float]
    step_ms: float
    """The same and the Adam step: one optimiser a module for the reference procedure, one in all for the others."""
    gradients_over_reference: float
    """Median over the rounds of the ratio within a round."""
    gradients_over_backprop: float
    step_over_reference: float
    step_over_backprop: float
    kept_bytes: int
    """Peak of what autograd keeps for backward; a closed-form gradient keeps a block of activations outside autograd."""


@dataclass(frozen=True)
class _Procedure:
    gradients: Callable[[], object]
    optimizers: list[torch.optim.Optimizer]


def bench_schedules(
    depths: Sequence[int], *, rounds: int = 12, batch_size: int = 128, threads: int = 0, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """Time the step of every schedule, of backpropagation and of the reference procedure at each depth.

    A shared cascade with an MLP extractor (784 → 256 → 128 features), hidden width 256, 100 classes.

    Args:
        depths: the numbers of stages.
        rounds: counted rounds, after one of warm-up.
        batch_size: B.
        threads: of torch; 0 leaves its setting.
        progress: called with one line a depth.

    Returns:
        `{"rows": [...], "settings": {...}, "provenance": {...}}`, ready for JSON.
    """
    if threads:
        torch.set_num_threads(threads)
    rows: list[StepRow] = []
    for depth in depths:
        progress(f"L = {depth}")
        rows += _bench_depth(depth, rounds, batch_size)
    settings = {"rounds": rounds, "batch_size": batch_size, "features": FEATURES, "hidden": HIDDEN, "classes": CLASSES}
    return {"rows": [asdict(row) for row in rows], "settings": settings, "provenance": provenance()}


def _bench_depth(depth: int, rounds: int, batch_size: int) -> list[StepRow]:
    torch.manual_seed(0)
    extractor = models.create("mlp", in_channels=1, image_size=28, feature_dim=FEATURES)
    cascade = shared_cascade(extractor, CLASSES, depth, hidden=HIDDEN)
    x, target = torch.randn(batch_size, 1, 28, 28), torch.randint(CLASSES, (batch_size,))
    procedures = _procedures(cascade, x, target)
    turns = take_turns(list(procedures), lambda name: _take_turn(cascade, procedures[name]), rounds)
    gradients = {name: [gradient for gradient, _ in turn] for name, turn in turns.items()}
    steps = {name: [step for _, step in turn] for name, turn in turns.items()}
    rows = []
    for name, procedure in procedures.items():
        cascade.zero_grad()
        low, high = quartiles(gradients[name])
        rows.append(
            StepRow(
                depth=depth,
                procedure=name,
                gradients_ms=1e3 * median(gradients[name]),
                gradients_quartiles_ms=(1e3 * low, 1e3 * high),
                step_ms=1e3 * median(steps[name]),
                gradients_over_reference=ratio(gradients[name], gradients[REFERENCE]),
                gradients_over_backprop=ratio(gradients[name], gradients[BACKPROP]),
                step_over_reference=ratio(steps[name], steps[REFERENCE]),
                step_over_backprop=ratio(steps[name], steps[BACKPROP]),
                kept_bytes=kept_bytes(cascade, procedure.gradients),
            )
        )
    return rows


def _procedures(cascade: SharedCascade, x: Tensor, target: Tensor) -> dict[str, _Procedure]:
    learners = {BACKPROP: Backprop(cascade)} | {name: SID(cascade, schedule=name) for name in schedules.names()}
    objective = LocalObjective()
    log_target = objective.log_target(target, CLASSES)
    modules = [cascade.extractor, *cascade.stages]
    procedures = {
        REFERENCE: _Procedure(
            partial(reference_backward, cascade, objective, x, log_target),
            [torch.optim.Adam(module.parameters()) for module in modules],
        )
    }
    for name, learner in learners.items():
        procedures[name] = _Procedure(partial(learner.backward, x, target), [torch.optim.Adam(cascade.parameters())])
    return procedures


def _take_turn(cascade: SharedCascade, procedure: _Procedure) -> tuple[float, float]:
    """Return the median seconds of the gradients alone and of the whole step."""
    gradients, steps = [], []
    for _ in range(1 + STEPS_A_TURN):
        start = time.perf_counter()
        cascade.zero_grad()
        procedure.gradients()
        gradients.append(time.perf_counter() - start)
        for optimizer in procedure.optimizers:
            optimizer.step()
        steps.append(time.perf_counter() - start)
    return median(gradients[1:]), median(steps[1:])
