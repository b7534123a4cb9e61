"""Files for TensorBoard, in the folder `tensorboard` of the run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes event files; `tensorboard --logdir runs` shows all runs below `runs`."""

    def __init__(self, run: Path, settings: Mapping[str, Any], step: int) -> None:
        self._writer: Any = SummaryWriter(str(run / "tensorboard"), purge_step=step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of an epoch."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, finished: bool) -> None:
        """Close the files."""
        self._writer.close()
