"""Metrics and settings for MLflow, where `MLFLOW_TRACKING_URI` says, in the experiment `MLFLOW_EXPERIMENT_NAME` or `torchsid`."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric, Param

_AT_ONCE = 100  # parameters that a server takes in one call


class MLflow:
    """Records a run, whose id is kept in `mlflow/run_id` so that an interrupted one goes on in the same place."""

    def __init__(self, run: Path, settings: Mapping[str, Any], step: int) -> None:
        self._client = mlflow.MlflowClient()
        kept = run / "mlflow" / "run_id"
        if step and kept.is_file():
            self._id = kept.read_text("utf-8").strip()
            self._client.update_run(self._id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "torchsid")
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._id = self._client.create_run(experiment, run_name=run.name).info.run_id
        params = [Param(key, str(value)) for key, value in settings.items()]
        for start in range(0, len(params), _AT_ONCE):
            self._client.log_batch(self._id, params=params[start : start + _AT_ONCE])
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(self._id, "utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the numbers of an epoch."""
        at = int(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[Metric(name, value, at, step) for name, value in values.items()])

    def close(self, *, finished: bool) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")
