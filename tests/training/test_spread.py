import os
from collections.abc import Callable

import pytest

from torchsid.errors import ConfigError
from torchsid.training import resolve
from torchsid.training.spread import on_lead, started_as_worker, was_restarted, workers, writes

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
    assert (started_as_worker(), was_restarted(), writes(config)) == (False, False, True)
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
        found.append((started_as_worker(), writes(config), was_restarted()))
    assert found == [*4 * [(True, False, False)], (True, True, False), (True, False, True)]


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("digits-bp", ["learner.name=backprop"]),
        ("digits-staged", ["model.depth=1"]),
        ("digits-staged", ["learner.teachers=last-epoch"]),
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
