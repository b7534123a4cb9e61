"""A real command with its processes: start it, kill it while it trains, see that nothing of it is left, start it again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

Command = subprocess.Popen[str]
QUESTION = """
question = "Does it?"
recipe = "digits"
rates = {rates}
seeds = [0]
settings = {{ "data.limit" = 200, "training.epochs" = 30, "training.checkpoint_every_seconds" = 0, "model.depth" = 2 }}
contenders = {{ it = {{ {contender} }} }}
"""


def write_question(folder: Path, *, rates: list[float], contender: str = "") -> None:
    (folder / "mine.toml").write_text(QUESTION.format(rates=rates, contender=contender))


def start(folder: Path, *arguments: str) -> Command:
    command = [sys.executable, "-m", "torchsid", "experiment", "mine.toml", "--out", "out", *arguments]
    paths = os.pathsep.join(str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stop(command: Command, number: signal.Signals, run: Path) -> int:
    """Send a signal when a run has a checkpoint, see that it is saved and that no process is left, and return the exit code."""
    end = time.monotonic() + 100
    while not (run / "checkpoints" / "last" / "state.json").exists():
        assert command.poll() is None, command.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)
    family = psutil.Process(command.pid).children(recursive=True)
    assert len(family) >= 2
    command.send_signal(number)
    command.communicate(timeout=60)
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"
    return command.returncode


def finish(command: Command) -> str:
    """Wait for the end and return what was printed."""
    said, _ = command.communicate(timeout=200)
    assert command.returncode == 0, said
    return said
