"""`torchsid bench step`: time and kept bytes of a training step, all contenders of a workload interleaved in one process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from torchsid.bench.contenders import contenders
from torchsid.bench.recorder import seconds_by_kind
from torchsid.bench.rows import Rounds, Row, memory_of, new_row, over_backprop, times_of
from torchsid.bench.trainable import Trainable, build, excused
from torchsid.bench.turns import STEPS_A_TURN, take_turns
from torchsid.bench.workload import Workload
from torchsid.core.side_effects import threads as give_threads


def bench_steps(
    workloads: Sequence[Workload], *, rounds: int = 12, threads: int = 0, progress: Callable[[str], None] = print
) -> dict[str, Any]:
    """Time the step of every contender on every workload; see `turns` for the method.

    Args:
        workloads: of `plan`, or shared cascades.
        rounds: counted rounds, 2 or more, after one of warm-up.
        threads: of torch; 0 leaves its setting.
        progress: called with one line a workload.

    Returns:
        `{"rows": [...], "settings": {...}}`, ready for JSON; rows as in `torchsid.bench.rows`.
    """
    with give_threads(threads or torch.get_num_threads()):
        rows: list[Row] = []
        for workload in workloads:
            progress(workload.title)
            rows += _bench(workload, rounds)
        settings = {"workloads": [asdict(workload) for workload in workloads], "rounds": rounds, "threads": torch.get_num_threads()}
    return {"rows": rows, "settings": settings}


def _bench(workload: Workload, rounds: int) -> list[Row]:
    made: dict[str, Trainable] = {}
    rows: list[Row] = []
    for contender in contenders(workload):
        why: list[str] = []
        found: Row = {}
        with excused(workload, why):
            trainable = build(workload, contender)
            trainable.step()  # compiles, and makes the momentum
            found = memory_of(trainable)
            made[contender.name] = trainable
        rows.append({**new_row(workload, contender, why), **found})
    times = take_rounds(made, rounds)
    for row in rows:
        if (name := row["contender"]) in times:
            row |= times_of(name, times, workload.batch_size)
    return over_backprop(rows)


def take_rounds(trainables: Mapping[str, Trainable], rounds: int) -> Rounds:
    """Return a step a round of each, taken in turns: of a few steps the one of median length, so that its parts add up to it."""

    def turn(name: str) -> dict[str, float]:
        _, *steps = (seconds_by_kind(trainables[name].watched_step()) for _ in range(1 + STEPS_A_TURN))
        return sorted(steps, key=lambda step: sum(step.values()))[STEPS_A_TURN // 2]

    return take_turns(list(trainables), turn, rounds) if trainables else {}
