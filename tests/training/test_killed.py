"""Processes that are killed in the middle of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from torchsid import Backprop
from torchsid.training import RunDirectory, checkpoint, open_run, train

from .conftest import assert_same_result, events
from .test_checkpoint import trained

# It is killed at the fsync of each of three files, of the new directory, of its parent: which checkpoint is there then?
SURVIVORS = {1: 1, 2: 1, 3: 1, 4: 1, 5: 2}
ACCIDENTS = """
import os, signal, sys
from pathlib import Path
import torch
from tests.training.conftest import Recorder
from torchsid import Backprop
from torchsid.training import Interrupted, checkpoint, durable, loop, resolve, train

folder, config = Path(sys.argv[1]), resolve(Path(sys.argv[1]) / "config.toml")
loop.REPORT_SECONDS = -1.0
real, moment, calls = os.fsync, 0, 0
learner = Backprop(torch.nn.Linear(3, 4))
optimizer = torch.optim.SGD(learner.module.parameters(), lr=0.1)

def fsync(descriptor):
    global calls
    calls += 1
    if calls == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)

def save(number):
    checkpoint.save(folder / str(moment) / "last", learner, optimizer, {"save": number}, config_sha256="abc")

def die(number):
    at_step = lambda *now: os.kill(os.getpid(), number) if now == (2, 2) else None
    try:
        train(config, folder / str(int(number)), reporter=Recorder(at_step))
    except Interrupted as stop:
        os._exit(128 + stop.signal)

def in_child(act, argument):
    if os.fork() == 0:
        act(argument)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]))

for moment in (1, 2, 3, 4, 5):
    save(1)
    durable.os.fsync = fsync
    in_child(save, 2)
    durable.os.fsync = real
for number in (signal.SIGKILL, signal.SIGTERM):
    in_child(die, number)
"""


@pytest.fixture(scope="module")
def accidents(tmp_path_factory: pytest.TempPathFactory, finished: RunDirectory) -> Path:
    """Where each of them has left its files, by moment or signal."""
    folder = tmp_path_factory.mktemp("accidents")
    text = finished.config_file.read_text()
    (folder / "config.toml").write_text(text.replace("checkpoint_every_seconds = 60.0", "checkpoint_every_seconds = 1e-9"))
    result = subprocess.run([sys.executable, "-c", ACCIDENTS, str(folder)], capture_output=True, text=True)
    assert result.stdout.split() == ["-9"] * len(SURVIVORS) + ["-9", "143"], result.stderr
    return folder


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills copies of a process by os.fork: run it on Linux or macOS")


@pytest.mark.slow
@needs_fork
def test_a_killed_save_leaves_a_whole_checkpoint(accidents: Path) -> None:
    for moment, survivor in SURVIVORS.items():
        directory = accidents / str(moment) / "last"
        assert checkpoint.load(directory, Backprop(nn.Linear(3, 4)), config_sha256="abc") == {"save": survivor}
        checkpoint.save(directory, *trained(), {"save": 3}, config_sha256="abc")
        assert [entry.name for entry in directory.parent.iterdir()] == ["last"]


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize(("number", "status"), [("9", "running"), ("15", "interrupted")])
def test_a_killed_run_loses_nothing_but_time(accidents: Path, finished: RunDirectory, number: str, status: str) -> None:
    run = open_run(accidents / number)
    assert run.manifest()["status"] == status
    with run.metrics_file.open("a") as file:
        file.write('{"event": "warning", "message": "cut off in the mid')
    train(run.config(), run.path, resume=True)
    assert_same_result(run.path, finished.path)
    assert events(run.path) == ["start", "epoch", "resume", "epoch", "end"]
