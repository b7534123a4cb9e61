"""A short run of every kind, always the same cases; `make soak` runs others for an hour."""

import os

import pytest

from tests.distributed.workers import in_workers
from tests.fuzz.case import run

SHORT = {"settings": 25, "damage": 15, "models": 15, "transformers": 4}
"""How many cases of a kind `make test` runs: about half a minute of one processor altogether."""
KILLS = 3


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", SHORT)
def test_no_promise_is_broken(kind: str) -> None:
    for seed in range(SHORT[kind]):
        run(kind, seed)


def killed(rank: int) -> list[str]:
    return [run("kills", seed) for seed in range(KILLS)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills copies of a process by os.fork: run it on Linux or macOS")
def test_killed_runs_lose_nothing_but_time() -> None:
    (told,) = in_workers(killed, 1)  # a process without threads
    assert len(told) == KILLS
