from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from torchsid.training import RunConfig, resolve

SMALL = [
    "data.limit=300",
    "data.validation=0.2",
    "model.depth=2",
    "model.feature_dim=8",
    "model.hidden=8",
    "training.epochs=2",
    "training.batch_size=64",
    "training.threads=1",
    "training.device=cpu",
]
CLOCK = ("seconds", "images_per_second", "memory_mib", "data_share")  # differ from run to run


@pytest.fixture
def small() -> Callable[..., RunConfig]:
    """A run of two epochs with four steps each (64, 64, 64 and 48 images) on the digits; more settings as arguments."""
    return lambda *overrides, recipe="digits": resolve(recipe, [*SMALL, *overrides])


class Recorder:
    """A reporter that remembers, and can do something at a step."""

    def __init__(self, at_step: Callable[[int, int], None] = lambda epoch, step: None) -> None:
        self.records: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.events: list[str] = []
        self.at_step = at_step

    def started(self, manifest: dict[str, Any], locality_text: str) -> None:
        self.events.append("started")
        self.locality = locality_text

    def step(self, epoch: int, steps_done: int, steps_total: int, loss: float, images_per_second: float) -> None:
        self.at_step(epoch, steps_done)

    def epoch(self, record: dict[str, Any]) -> None:
        self.records.append(record)

    def finished(self, run: Path, evaluation: dict[str, Any]) -> None:
        self.events.append("finished")

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def interrupted(self, run: Path) -> None:
        self.events.append("interrupted")


def lasting(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The epoch records without what the clock and the machine say."""
    return [{k: v for k, v in record.items() if k not in CLOCK} for record in records if record["event"] == "epoch"]


def checkpoint_bytes(run: Path, which: str = "last") -> dict[str, bytes]:
    """The tensors of a checkpoint, byte by byte."""
    return {path.name: path.read_bytes() for path in (run / "checkpoints" / which).glob("*.safetensors")}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
