import re
import subprocess
import sys

import pytest

from torchsid.bench.workers import launch


@pytest.mark.slow
def test_the_error_of_a_worker_is_told() -> None:
    # In a process of its own, since the launcher's threads must not be forked by a later test.
    program = "import json; from torchsid.bench.workers import launch; launch.run(json.loads, 'no JSON', 2)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert re.search(r"RunError: worker \d failed: .*Expecting value", done.stderr)


def test_a_started_process_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launch.launched()
    assert launch.problems(2) == []
    assert launch.run(str.upper, "here", 2) == "HERE"


def test_without_gloo_nothing_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.dist, "is_gloo_available", lambda: False)
    assert "install another" in launch.problems(2)[0]
