"""A short run of every kind, always the same cases; `make soak` runs others for an hour."""

import json
import os
import subprocess
import sys

import pytest

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


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills copies of a process by os.fork: run it on Linux or macOS")
def test_killed_runs_lose_nothing_but_time() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "kills", "0", "--cases", str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(told) == KILLS, done.stderr
    assert [each["finding"] for each in told if "finding" in each] == []
