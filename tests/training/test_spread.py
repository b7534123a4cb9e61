import os
from collections.abc import Callable

import pytest

from torchsid.errors import ConfigError
from torchsid.training import RunConfig, resolve
from torchsid.training.spread import on_lead, started_as_worker, was_restarted, workers, writes


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the environment that `torchrun` gives a worker."""

    def start(rank: int, size: int, restarts: int = 0) -> None:
        for name, value in (("RANK", rank), ("WORLD_SIZE", size), ("TORCHELASTIC_RESTART_COUNT", restarts)):
            monkeypatch.setenv(name, str(value))

    return start


def staged(*overrides: str) -> RunConfig:
    return resolve("digits-staged", overrides)


def test_one_process_has_no_workers(worker: Callable[..., None]) -> None:
    assert "WORLD_SIZE" not in os.environ
    assert not started_as_worker()
    assert not was_restarted()
    assert writes(staged())
    assert on_lead(None, lambda: 3) == 3
    with workers(staged()) as world:
        assert world is None
    worker(0, 1)  # a job of one
    with workers(resolve("digits")) as world:
        assert world is None


def test_the_first_replica_of_the_last_stage_writes_and_a_restart_is_noticed(worker: Callable[..., None]) -> None:
    config, writing = staged("distributed.replicas=2"), []
    for rank in range(6):
        worker(rank, 6)
        assert started_as_worker()
        assert not was_restarted()
        writing.append(writes(config))
    assert writing == [False, False, False, False, True, False]
    worker(0, 6, restarts=2)
    assert was_restarted()


@pytest.mark.parametrize(
    ("recipe", "override"),
    [
        ("digits-bp", "learner.name=backprop"),
        ("digits-staged", "learner.window=2"),
        ("digits-staged", "learner.teachers=last-epoch"),
        ("digits-staged", "optimizer.clip_gradient=1"),
        ("digits-staged", "training.on_non_finite=skip"),
        ("digits-staged", "distributed.staleness=1"),
        ("digits", "distributed.replicas=2"),
        ("digits", "distributed.micro_batches=2"),
        ("digits", "learner.combine=pcgrad"),
    ],
)
def test_what_cannot_be_spread_is_refused_before_the_others_are_met(
    worker: Callable[..., None], recipe: str, override: str
) -> None:
    worker(1, 2)
    with pytest.raises(ConfigError, match="distributed job:") as caught, workers(resolve(recipe, [override])):
        pass
    (problem,) = caught.value.problems
    assert override.partition("=")[0] in problem


def test_all_problems_are_named_at_once(worker: Callable[..., None]) -> None:
    worker(0, 2)
    config = staged("learner.window=2", "optimizer.clip_gradient=1", "training.on_non_finite=skip")
    with pytest.raises(ConfigError) as caught, workers(config):
        pass
    assert len(caught.value.problems) == 3
