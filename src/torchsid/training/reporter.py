"""Who hears of a run while it goes on: the seam between training and the terminal, and TensorBoard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchsid.errors import ConfigError


class Reporter:
    """Receives the events of a run and does nothing; override what is to be told. A method returns at once and changes nothing."""

    def started(self, manifest: dict[str, Any], locality_text: str) -> None:
        """Training begins or goes on; `manifest` is what stands in manifest.json."""

    def step(self, epoch: int, steps_done: int, steps_total: int, loss: float, samples_per_second: float) -> None:
        """A step of the epoch is done; called ten times a second at most, and after the last step of an epoch."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done; `record` is its line in metrics.jsonl."""

    def finished(self, run: Path, evaluation: dict[str, Any]) -> None:
        """Training and evaluation are done; `evaluation` is what stands in evaluation.json."""

    def warning(self, text: str) -> None:
        """Something the user should know happened, and the run goes on."""

    def interrupted(self, run: Path) -> None:
        """A signal ended the run early; it is saved and can be resumed."""


def tensorboard() -> Callable[..., Any]:
    """Return PyTorch's SummaryWriter; a ConfigError where the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        message = "watch.tensorboard = true needs TensorBoard: pip install 'torchsid[tensorboard]', or set it to false"
        raise ConfigError([message]) from None
    return SummaryWriter


def write_scalars(board: Any, record: dict[str, Any]) -> None:
    """Write the numbers of an epoch by a SummaryWriter; validation has the prior as stage 0."""
    values = {name: record[name] for name in ("learning_rate", "train_loss", "samples_per_second", "memory_mib")}
    values |= {f"train_accuracy/stage {stage}": each for stage, each in enumerate(record["train_accuracy"] or (), 1)}
    for name in ("accuracy", "kl"):
        values |= {f"validation_{name}/stage {i}": each for i, each in enumerate((record["validation"] or {}).get(name, ()))}
    for name, value in values.items():
        if value is not None:
            board.add_scalar(name, value, record["step"])
    board.flush()
