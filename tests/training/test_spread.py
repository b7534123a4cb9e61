import os
from collections.abc import Callable
from typing import Any

import pytest

from torchsid.distributed.launcher import launched
from torchsid.errors import ConfigError
from torchsid.training import resolve
from torchsid.training.spread import on_lead, workers, writes

Worker = Callable[..., None]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Set the environment that `torchrun` gives a worker."""

    def start(rank: int, size: int, restarts: int = 0) -> None:
        for name, value in (("RANK", rank), ("WORLD_SIZE", size), ("TORCHELASTIC_RESTART_COUNT", restarts)):
            monkeypatch.setenv(name, str(value))

    return start


def test_one_process_has_no_workers(worker: Worker) -> None:
    config = resolve("digits-staged")
    assert "WORLD_SIZE" not in os.environ
    assert (launched(), writes(config)) == (None, True)
    assert on_lead(None, lambda: 3) == 3
    with workers(config) as world:
        assert world is None
    worker(0, 1)  # a job of one
    with workers(config) as world:
        assert world is None


def test_the_first_replica_of_the_last_stage_writes_and_a_restart_is_noticed(worker: Worker) -> None:
    config, found = resolve("digits-staged", ["distributed.replicas=2"]), []
    for rank in range(6):
        worker(rank, 6, restarts=rank // 5)
        here = launched()
        assert here is not None
        found.append((here.rank, writes(config), here.restarts))
    assert found == [*((rank, False, 0) for rank in range(4)), (4, True, 0), (5, False, 1)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"WORLD_SIZE": "two"}, ["WORLD_SIZE = 'two'"]),
        ({"WORLD_SIZE": ""}, ["WORLD_SIZE is not set"]),
        ({"RANK": ""}, ["RANK is not set"]),
        ({"RANK": "2"}, ["RANK = '2': a worker needs a number from 0 to 1"]),
        ({"RANK": "-1", "LOCAL_RANK": "x"}, ["RANK = '-1'", "LOCAL_RANK = 'x'"]),
        ({"WORLD_SIZE": "0"}, ["WORLD_SIZE = '0'"]),
        ({"WORLD_SIZE": "9" * 5000}, ["WORLD_SIZE = '999"]),
        ({"MASTER_PORT": "65536"}, ["MASTER_PORT = '65536'"]),
        (
            {"MASTER_PORT": "http", "TORCHELASTIC_RESTART_COUNT": "1.5"},
            ["TORCHELASTIC_RESTART_COUNT = '1.5'", "MASTER_PORT = 'http'"],
        ),
    ],
)
def test_nonsense_in_the_environment_is_named(worker: Worker, monkeypatch: Any, changes: dict[str, str], named: list[str]) -> None:
    worker(0, 2)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught, workers(resolve("digits-staged")):
        pass
    assert len(caught.value.problems) == len(named)
    assert all(
        problem.startswith(words) and len(problem) < 200 for problem, words in zip(caught.value.problems, named, strict=True)
    )


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("digits-bp", ["learner.name=backprop"]),
        ("digits-staged", ["model.depth=1"]),
        ("digits-staged", ["learner.teachers=last-epoch"]),
        ("cartpole", ["task=control"]),
        ("digits-staged", ["distributed.staleness=1"]),
        ("digits-staged", ["learner.window=2", "optimizer.clip_gradient=1", "training.on_non_finite=skip"]),
        ("digits", ["distributed.replicas=2", "distributed.micro_batches=2", "learner.combine=pcgrad"]),
    ],
)
def test_what_cannot_be_spread_is_refused_before_the_others_are_met(worker: Worker, recipe: str, overrides: list[str]) -> None:
    worker(1, 2)
    with pytest.raises(ConfigError, match="distributed job:") as caught, workers(resolve(recipe, overrides)):
        pass
    assert len(caught.value.problems) == len(overrides)
    assert all(override.partition("=")[0] in str(caught.value) for override in overrides)
