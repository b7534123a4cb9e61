"""Metrics and settings for Weights & Biases, in the project `WANDB_PROJECT` or `torchsid`; its own variables choose the rest."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb


class WandB:
    """Records a run, whose id is kept in `wandb/run_id` so that an interrupted one goes on in the same place."""

    def __init__(self, run: Path, settings: Mapping[str, Any], step: int) -> None:
        kept, project = run / "wandb" / "run_id", os.environ.get("WANDB_PROJECT", "torchsid")
        goes_on = kept.read_text("utf-8").strip() if step and kept.is_file() else None
        self._run = wandb.init(project=project, name=run.name, id=goes_on, resume="allow", dir=run, config=dict(settings))
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(self._run.id, "utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the numbers of an epoch."""
        self._run.log(dict(values), step=step)

    def close(self, *, finished: bool) -> None:
        """Send what is left, and say how the run ended."""
        self._run.finish(exit_code=0 if finished else 1)
