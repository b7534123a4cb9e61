"""Loggers hear of every epoch, go on where a run goes on, and end no training."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from torchsid.errors import ConfigError
from torchsid.training import Interrupted, RunConfig, resolve, train

from .conftest import Recorder, interrupt_at

Small = Callable[..., RunConfig]
OWN = "training.loggers=['tests.training.test_loggers:Own']"


class Own:
    """Keeps what it is told; fails at the step that is set."""

    kept: list[Any]
    fails_at: int | None

    def __init__(self, run: Path, settings: Mapping[str, Any], step: int) -> None:
        if Own.fails_at == step:
            raise OSError("no route to host")
        Own.kept.append(("begin", run.name, settings["learner.name"], step))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if Own.fails_at == step:
            raise OSError("no route to host")
        Own.kept.append((step, dict(values)))

    def close(self, *, finished: bool) -> None:
        Own.kept.append(("end", finished))


@pytest.fixture(autouse=True)
def _forget() -> None:
    Own.kept, Own.fails_at = [], None


def test_a_logger_of_ones_own_hears_of_every_epoch_and_goes_on_where_the_run_does(small: Small, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(small(OWN), tmp_path / "run", reporter=interrupt_at(2, 1))
    assert Own.kept[0] == ("begin", "run", "sid", 0)
    assert Own.kept[-1] == ("end", False)
    train(small(OWN), tmp_path / "run", resume=True)
    assert [each[0] for each in Own.kept] == ["begin", 3, "end", "begin", 6, "end"]
    assert Own.kept[3] == ("begin", "run", "sid", 4)
    assert Own.kept[-1] == ("end", True)
    values = Own.kept[4][1]
    assert {"learning_rate", "train_loss", "train_accuracy/stage 2", "validation_kl/stage 0"} <= set(values)
    assert all(isinstance(value, float) for value in values.values())


def test_what_a_task_scores_is_recorded_by_stage(tmp_path: Path) -> None:
    train(resolve("diabetes", [OWN, "training.epochs=1", "training.device=cpu"]), tmp_path / "run")
    assert {f"validation_{name}/stage {stage}" for name in ("mae", "kl") for stage in range(3)} <= set(Own.kept[1][1])


def test_a_service_that_is_down_ends_no_training(small: Small, tmp_path: Path) -> None:
    Own.fails_at, recorder = 3, Recorder()
    train(small(OWN), tmp_path / "run", reporter=recorder)
    assert [each[0] for each in Own.kept] == ["begin"]
    assert recorder.warnings[0] == "Own records no more of this run: OSError: no route to host"


def test_a_logger_that_cannot_begin_is_an_error_and_the_run_can_go_on(small: Small, tmp_path: Path) -> None:
    Own.fails_at = 0
    with pytest.raises(ConfigError, match=r"Own cannot begin: OSError: no route to host.*--resume"):
        train(small(OWN), tmp_path / "run")
    Own.fails_at = None
    train(small(OWN), tmp_path / "run", resume=True)
    assert [each[0] for each in Own.kept] == ["begin", 3, 6, "end"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own imports
def test_tensorboard_has_every_epoch(small: Small, tmp_path: Path) -> None:
    reason = "needs TensorBoard: pip install 'torchsid[tensorboard]'"
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)
    run = train(small("training.loggers=['tensorboard']"), tmp_path / "run")
    events = accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train_loss")] == [3, 6]
    assert {"validation_accuracy/stage 0", "validation_accuracy/stage 2", "train_accuracy/stage 1"} <= set(events.Tags()["scalars"])


def test_mlflow_has_settings_and_epochs_in_one_run_however_often_it_was_interrupted(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs MLflow: pip install 'torchsid[mlflow]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    config = small("training.loggers=['mlflow']")
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", reporter=interrupt_at(2, 1))
    train(config, tmp_path / "run", resume=True)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("torchsid").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["learner.name"] == "sid"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "validation_kl/stage 2")] == [3, 6]


def test_weights_and_biases_has_a_run_on_disk_where_it_is_told_to_stay_offline(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs Weights & Biases: pip install 'torchsid[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = train(small("training.loggers=['wandb']"), tmp_path / "run")
    (offline,) = (run / "wandb").glob("offline-run-*")
    identity = (run / "wandb" / "run_id").read_text("utf-8")
    assert b"validation_kl/stage 2" in (offline / f"run-{identity}.wandb").read_bytes()
