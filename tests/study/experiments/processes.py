"""A real command with its processes: start it, wait for something, kill it, see that nothing of it is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start `torchsid experiment` in a folder."""
    command = [sys.executable, "-m", "torchsid", "experiment", *arguments]
    paths = os.pathsep.join(str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stop(process: "subprocess.Popen[str]", number: signal.Signals, at: Callable[[], bool]) -> int:
    """Send a signal when something holds, see that no process outlives it, and return the exit code."""
    end = time.monotonic() + 60
    while not at():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.send_signal(number)
    process.communicate(timeout=60)
    assert psutil.wait_procs(family, timeout=20)[1] == []
    return process.returncode
