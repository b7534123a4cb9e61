"""Heads of all workers read what the last one trains, S steps late, as in one process."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.distributed.networks import Batches, alone, assert_same, pipelined, train_in_worker, trained, weights_of
from tests.distributed.workers import in_workers
from torch import Tensor

from torchsid import StagedCascade, staged_cascade
from torchsid.distributed.pipeline import PipelinedSID
from torchsid.distributed.world import join
from torchsid.learners.sid import SID
from torchsid.models.classifiers.gpt import GPT
from torchsid.training import checkpoint

V, T = 20, 6
EXAMPLE = torch.zeros(2, T, dtype=torch.int64)


def language_model(refresh: int, residual: bool = False) -> StagedCascade:
    """Three stages, the same at every call."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"head": "readout", "head_settings": {"refresh": refresh}, "max_head_share": 9.0, "by": "graph"}
    return staged_cascade(GPT(EXAMPLE, V, width=8, blocks=3, heads=2), V, 3, EXAMPLE, residual=residual, **settings)


def texts() -> Batches:
    """Six batches."""
    text = torch.randint(V, (6, 4, T + 1), generator=torch.Generator().manual_seed(1))
    return [(batch[:, :-1], batch[:, 1:]) for batch in text]


@pytest.mark.parametrize(("size", "refresh", "parts"), [(2, 1, 1), (3, 5, 1), (2, 5, 2)])
def test_workers_are_one_process_to_the_bit(size: int, refresh: int, parts: int) -> None:
    build = partial(language_model, refresh, residual=size == 3)
    settings: dict[str, Any] = {"batch_size": 4, "example": EXAMPLE, "micro_batches": parts}
    workers = in_workers(partial(train_in_worker, build=build, data=texts, **settings), size)
    if parts == 1:
        assert_same(workers, trained(alone(build()), texts()))
    else:  # what is added up in parts is rounded otherwise
        one = trained(alone(build()), texts())
        torch.testing.assert_close(workers[-1]["losses"], one["losses"])
        torch.testing.assert_close(workers[0]["weights.readout.weight"], one["weights.readout.weight"])
    message = 4 * V * 8
    periods = -(-2 * len(texts()) // refresh)
    assert 0 <= workers[-1]["sent"] - periods * (size - 1) * message < periods * (size - 1) * 1024


def run_ahead(rank: int) -> float:
    """The last worker begins when the first has taken S steps, which must not wait for it."""
    with join(timeout=60) as world:
        learner = pipelined(language_model(3), world, batch_size=4, example=EXAMPLE, queue=12)
        if rank == 1:
            world.store.wait(["3 steps"])
        for number, batch in enumerate(texts(), 1):
            learner.step(*batch)
            if rank == 0:
                world.store.set(f"{number} steps", "")
        learner.flush()
        world.gather(None)
    return 0.0


def test_a_worker_that_is_a_period_ahead_does_not_wait() -> None:
    in_workers(run_ahead)


def steps(learner: SID | PipelinedSID, first: int, end: int) -> Tensor:
    learner.module.train()
    return torch.stack([learner.step(*batch).stage_losses for batch in (texts() * 2)[first:end]])


def stop_and_go_on(rank: int, path: Path, saves: bool) -> dict[str, Any]:
    """Save after 7 of 12 steps, or go on from there."""
    with join(timeout=60) as world:
        learner = pipelined(language_model(3), world, batch_size=4, example=EXAMPLE)
        if saves:
            steps(learner, 0, 7)
            learner.settle()
            checkpoint.save(path, learner, learner.optimizer, {}, config_sha256="", world=world)
            losses = torch.empty(0)
        else:
            checkpoint.load(path, learner, learner.optimizer, config_sha256="", world=world)
            losses = steps(learner, 7, 12)
        learner.flush()
        world.gather(None)
        return {"losses": losses, **weights_of(learner)}


def test_what_two_workers_saved_within_a_period_two_or_one_go_on_with_to_the_bit(tmp_path: Path) -> None:
    in_workers(partial(stop_and_go_on, path=tmp_path / "last", saves=True))
    workers = in_workers(partial(stop_and_go_on, path=tmp_path / "last", saves=False))
    straight, resumed = alone(language_model(3)), alone(language_model(3))
    assert resumed.optimizer is not None
    checkpoint.load(tmp_path / "last", resumed, resumed.optimizer, config_sha256="")
    expected = steps(straight, 0, 12)[7:]
    assert torch.equal(steps(resumed, 7, 12), expected)
    assert torch.equal(workers[-1]["losses"], expected)
    whole = weights_of(straight)
    for worker in workers:
        assert [name for name, value in worker.items() if name != "losses" and not torch.equal(value, whole[name])] == []
