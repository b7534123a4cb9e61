import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from torchsid.errors import RunError
from torchsid.study.experiments.pool import at_once

PROGRAM = """
import pathlib, sys, time
from torchsid.study.experiments.pool import at_once

if __name__ == "__main__":
    for _ in at_once(time.sleep, [2.0] * 40, 2):
        pathlib.Path(sys.argv[1]).touch()
"""


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(at_once(math.sqrt, [float(k * k) for k in range(9)], 3)) == list(range(9))
    assert list(at_once(math.sqrt, [4.0], 3)) == [2.0]
    assert list(at_once(math.sqrt, [], 3)) == []


def test_an_error_is_raised_here() -> None:
    results = at_once(math.sqrt, [4.0, -1.0, 9.0], 1)
    assert next(results) == 2.0
    with pytest.raises(ValueError, match="math domain"):
        next(results)


def test_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(RunError, match="exit code 9"):
        list(at_once(os._exit, [9], 1))


def test_who_stops_asking_leaves_nothing_behind() -> None:
    before = set(psutil.Process().children())
    results = at_once(math.sqrt, [float(k) for k in range(20)], 2)
    next(results)
    results.close()
    left = set(psutil.Process().children()) - before
    assert not [process for process in left if "spawn_main" in " ".join(process.cmdline())]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)], ids=["term", "int", "kill"]
)
def test_no_process_outlives_us(tmp_path: Path, number: signal.Signals, code: int) -> None:
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("no signal at the parent's death")
    (tmp_path / "program.py").write_text(PROGRAM)
    parent = subprocess.Popen([sys.executable, "program.py", "begun"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "begun").exists():
        assert parent.poll() is None
        time.sleep(0.05)
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 2
    parent.send_signal(number)
    _, said = parent.communicate(timeout=60)
    assert parent.returncode in (code, -signal.SIGINT)  # Python ends by SIGINT where KeyboardInterrupt is not caught
    assert ("KeyboardInterrupt" in said) == (number != signal.SIGKILL)
    assert psutil.wait_procs(family, timeout=20)[1] == []
