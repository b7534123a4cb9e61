import os
from collections.abc import Callable
from dataclasses import replace

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


def test_one_process_has_no_workers() -> None:
    assert "WORLD_SIZE" not in os.environ
    assert not started_as_worker()
    assert not was_restarted()
    assert writes(staged())
    with workers(staged()) as world:
        assert world is None
    assert on_lead(None, lambda: 3) == 3


def test_a_job_of_one_worker_is_one_process(worker: Callable[..., None]) -> None:
    worker(0, 1)
    with workers(resolve("digits")) as world:
        assert world is None


def test_the_first_replica_of_the_last_stage_writes(worker: Callable[..., None]) -> None:
    config = staged()
    config = replace(config, distributed=replace(config.distributed, replicas=2))
    writing = []
    for rank in range(6):
        worker(rank, 6)
        assert started_as_worker()
        writing.append(writes(config))
    assert writing == [False, False, False, False, True, False]


def test_a_restart_is_noticed(worker: Callable[..., None]) -> None:
    worker(0, 2, restarts=0)
    assert not was_restarted()
    worker(0, 2, restarts=2)
    assert was_restarted()


@pytest.mark.parametrize(
    ("recipe", "overrides", "setting"),
    [
        ("digits-bp", [], "learner.name"),
        ("digits-staged", ["learner.window=2"], "learner.window"),
        ("digits-staged", ["training.clip_gradient=1"], "training.clip_gradient"),
        ("digits-staged", ["training.on_non_finite=skip"], "training.on_non_finite"),
    ],
)
def test_what_cannot_be_spread_is_refused_before_the_others_are_met(
    worker: Callable[..., None], recipe: str, overrides: list[str], setting: str
) -> None:
    worker(1, 2)
    with (
        pytest.raises(ConfigError, match=f"(?s)distributed job:.*{setting} = ") as caught,
        workers(resolve(recipe, overrides)),
    ):
        pass
    assert len(caught.value.problems) == 1


def test_all_problems_are_named_at_once(worker: Callable[..., None]) -> None:
    worker(0, 2)
    config = staged("learner.window=2", "training.clip_gradient=1", "training.on_non_finite=skip")
    with pytest.raises(ConfigError) as caught, workers(config):
        pass
    assert len(caught.value.problems) == 3
