import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from torchsid.training import RunConfig, RunDirectory, open_run, resolve, train
from torchsid.training import loop as loop_module
from torchsid.training.reporter import Reporter

SMALL = ["data.limit=150", "data.validation=0.2", "training.epochs=2", "training.batch_size=50", "training.device=cpu"]
"""Two epochs of three steps each, of 50, 50 and 20 images."""
NARROW = ["model.depth=2", "model.feature_dim=8", "model.hidden=8"]
CLOCK = ("seconds", "samples_per_second", "memory_mib", "data_share")  # differ from run to run


@pytest.fixture
def small() -> Callable[..., RunConfig]:
    """A small cascade on few digits, or what another recipe makes of them; more settings as arguments."""
    return lambda *overrides, recipe="digits": resolve(recipe, [*SMALL, *(NARROW if recipe == "digits" else []), *overrides])


class Recorder(Reporter):
    """A reporter that remembers, and can do something at a step."""

    def __init__(self, at_step: Callable[[int, int], object] = lambda epoch, step: None) -> None:
        self.records: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.events: list[str] = []
        self.epoch, self.warning = self.records.append, self.warnings.append
        self.started = lambda *_: self.events.append("started")
        self.finished = lambda *_: self.events.append("finished")
        self.interrupted = lambda *_: self.events.append("interrupted")
        self.step = lambda epoch, step, *_: at_step(epoch, step)


def interrupt_at(epoch: int, step: int) -> Recorder:
    """A reporter that sends this process SIGINT once, when a step of an epoch is done."""
    return Recorder(lambda *now: os.kill(os.getpid(), signal.SIGINT) if now == (epoch, step) else None)


def lasting(run: Path) -> list[dict[str, Any]]:
    """The epoch records of a run without what the clock and the machine say."""
    return [{k: v for k, v in each.items() if k not in CLOCK} for each in open_run(run).metrics() if each["event"] == "epoch"]


def events(run: Path) -> list[str]:
    """What happened to a run, without warnings, such as that its validation is small."""
    return [each["event"] for each in open_run(run).metrics() if each["event"] != "warning"]


def checkpoint_digests(run: Path, which: str = "last") -> dict[str, str]:
    """The tensors of a checkpoint, byte by byte, short enough to be shown where they differ."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (run / "checkpoints" / which).glob("*.safetensors")
    }


def assert_same_result(run: Path, reference: Path) -> None:
    for which in ("last", "best"):
        assert checkpoint_digests(run, which) == checkpoint_digests(reference, which)
    assert lasting(run) == lasting(reference)
    assert open_run(run).evaluation() == open_run(reference).evaluation()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of `small` that everybody may read and nobody may change."""
    run = tmp_path_factory.mktemp("runs") / "run"
    return RunDirectory(train(resolve("digits", [*SMALL, *NARROW]), run, command="torchsid train digits"))


@pytest.fixture(autouse=True)
def every_step_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(loop_module, "REPORT_SECONDS", -1.0)
