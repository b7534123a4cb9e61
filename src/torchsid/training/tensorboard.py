"""Epoch records as TensorBoard scalars, for those who ask for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchsid.errors import ConfigError


class TensorBoardWriter:
    """Writes a run's epochs below its `tensorboard/` folder.

    Raises:
        ConfigError: the package is not installed.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        self._writer = summary_writer()(str(folder), purge_step=step)

    def write(self, record: dict[str, Any]) -> None:
        """Write the numbers of one epoch at its step."""
        step = record["step"]
        for name in ("learning_rate", "train_loss", "samples_per_second", "memory_mib"):
            if record[name] is not None:
                self._writer.add_scalar(name, record[name], step)
        validation = record["validation"] or {"accuracy": [], "kl": []}
        stages = {
            "train_accuracy": record["train_accuracy"] or [],
            **{f"validation_{k}": validation[k] for k in ("accuracy", "kl")},
        }
        for name, values in stages.items():
            first = 1 if name == "train_accuracy" else 0  # validation has the prior as stage 0
            for stage, value in enumerate(values, first):
                self._writer.add_scalar(f"{name}/stage {stage}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def summary_writer() -> Callable[..., Any]:
    """Return PyTorch's SummaryWriter.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        message = "watch.tensorboard = true needs TensorBoard: pip install 'torchsid[tensorboard]', or set it to false"
        raise ConfigError([message]) from None
    return SummaryWriter
