"""Processes that are killed in the middle of it."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.distributed.workers import exit_code
from torchsid import Backprop, durable
from torchsid.training import Interrupted, RunDirectory, checkpoint, loop, open_run, resolve, train

from .conftest import Recorder, assert_same_result, events
from .test_checkpoint import trained

# It is killed at the fsync of each of three files, of the new directory, of its parent: which checkpoint is there then?
SURVIVORS = {1: 1, 2: 1, 3: 1, 4: 1, 5: 2}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills processes that a server has forked: run it on Linux")


def save_twice(directory: Path, moment: int) -> None:
    """The second time the process is killed at an fsync."""
    learner = Backprop(nn.Linear(3, 4))
    optimizer = torch.optim.SGD(learner.module.parameters(), lr=0.1)
    checkpoint.save(directory, learner, optimizer, {"save": 1}, config_sha256="abc")
    real, calls = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)

    durable.os.fsync = fsync
    checkpoint.save(directory, learner, optimizer, {"save": 2}, config_sha256="abc")


def be_stopped(config: Path, run: Path, number: int) -> None:
    """Train until a signal comes, in the second step of the second epoch."""
    loop.REPORT_SECONDS = -1.0
    torch.set_num_threads(1)
    try:
        train(resolve(config), run, reporter=Recorder(lambda *now: os.kill(os.getpid(), number) if now == (2, 2) else None))
    except Interrupted as stop:
        os._exit(128 + stop.signal)


@pytest.mark.parametrize(("moment", "survivor"), SURVIVORS.items())
def test_a_killed_save_leaves_a_whole_checkpoint(tmp_path: Path, moment: int, survivor: int) -> None:
    directory = tmp_path / "last"
    assert exit_code(save_twice, directory, moment) == -signal.SIGKILL
    assert checkpoint.load(directory, Backprop(nn.Linear(3, 4)), config_sha256="abc") == {"save": survivor}
    checkpoint.save(directory, *trained(), {"save": 3}, config_sha256="abc")
    assert [entry.name for entry in directory.parent.iterdir()] == ["last"]


@pytest.mark.parametrize(("number", "code", "status"), [(signal.SIGKILL, -9, "running"), (signal.SIGTERM, 128 + 15, "interrupted")])
def test_a_killed_run_loses_nothing_but_time(tmp_path: Path, finished: RunDirectory, number: int, code: int, status: str) -> None:
    text = finished.config_file.read_text()
    config = tmp_path / "config.toml"
    config.write_text(text.replace("checkpoint_every_seconds = 60.0", "checkpoint_every_seconds = 1e-9"))
    assert exit_code(be_stopped, config, tmp_path / "run", number) == code
    run = open_run(tmp_path / "run")
    assert run.manifest()["status"] == status
    with run.metrics_file.open("a") as file:
        file.write('{"event": "warning", "message": "cut off in the mid')
    train(run.config(), run.path, resume=True)
    assert_same_result(run.path, finished.path)
    assert events(run.path) == ["start", "epoch", "resume", "epoch", "end"]
