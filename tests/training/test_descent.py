import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from torchsid import LocalObjective
from torchsid.training import RunConfig, open_run, train
from torchsid.training import descent as descent_module
from torchsid.training.descent import descent_of

from .conftest import Recorder, checkpoint_bytes, lasting

Small = Callable[..., RunConfig]


def of(to_target: list[list[float]]) -> descent_module.Descent:
    """The descent of two-class beliefs in class 0 whose KL is given, `[L+1][N]`."""
    right = (-torch.tensor(to_target)).exp()
    log_beliefs = torch.stack([right, 1 - right], dim=-1).log()
    return descent_of(log_beliefs, torch.zeros(right.shape[1], dtype=torch.int64), LocalObjective(), "some images")


def test_shares_and_means_by_stage() -> None:
    found = of([[0.7, 0.7, 0.7, 0.7], [0.5, 0.5, 0.5, 0.9], [0.5, 0.4, 0.6, 0.8]])
    assert found.shares == [0.75, 0.75]
    assert found.means == pytest.approx([0.7, 0.6, 0.575])
    assert found.rising == []


def test_a_rise_counts_when_it_is_more_than_chance() -> None:
    assert of([[0.5] * 8, [0.6] * 8]).rising == [1]
    assert of([[0.5] * 8, [0.3, 0.7] * 4]).rising == []
    assert of([[0.5] * 8, [0.31, 0.7] * 4]).rising == []  # the mean rises by a fortieth of its spread
    assert of([[0.5] * 8, [0.4] * 8, [0.45] * 8]).rising == [2]


def test_the_share_of_every_stage_is_in_the_record_and_training_is_the_same(small: Small, tmp_path: Path) -> None:
    config = small("training.certify=true")
    run = train(config, tmp_path / "run")
    records = lasting(open_run(run).metrics())
    assert [len(record["descent"]) for record in records] == [2, 2]
    assert all(0 <= share <= 1 for record in records for share in record["descent"])
    plain = train(small(), tmp_path / "plain")
    assert lasting(open_run(plain).metrics())[0]["descent"] is None
    assert checkpoint_bytes(run) == checkpoint_bytes(plain)


@pytest.mark.parametrize("override", ["data.validation=0.0", "learner.direction=reverse"])
def test_training_images_and_the_other_direction(small: Small, tmp_path: Path, override: str) -> None:
    settings = ["training.certify=true", "training.epochs=1", "learner.label_smoothing=0.1", override]
    (record,) = lasting(open_run(train(small(*settings), tmp_path / "run")).metrics())
    assert len(record["descent"]) == 2


def test_a_network_without_stages_has_no_descent(small: Small, tmp_path: Path) -> None:
    config = small("training.certify=true", "training.epochs=1", recipe="digits-bp-plain")
    assert lasting(open_run(train(config, tmp_path / "run")).metrics())[0]["descent"] is None


def stage_two_fails_from(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second of two stages turn every belief away from the label, from an epoch on."""
    calls = []

    def predict(*_: object, **__: object) -> Tensor:
        calls.append(None)
        third = 0.05 if len(calls) >= epoch else 0.9
        right = torch.tensor([0.1, 0.5, third]).reshape(3, 1, 1).expand(3, 60, 1)
        return torch.cat([right, (1 - right) / 9 * torch.ones(9)], dim=-1).log()

    original = descent_module.descent_of
    monkeypatch.setattr(descent_module, "predict", predict)
    monkeypatch.setattr(
        descent_module, "descent_of", lambda beliefs, labels, *rest: original(beliefs, torch.zeros(60, dtype=torch.int64), *rest)
    )


def test_the_warning_comes_once_and_training_goes_on(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_two_fails_from(2, monkeypatch)
    recorder = Recorder()
    train(small("training.certify=true", "training.epochs=4"), tmp_path / "run", reporter=recorder)
    (warning,) = recorder.warnings
    assert warning.startswith("epoch 3: stage 2 no longer improves on stage 1 (mean KL 0.6931 to 2.9957)")
    assert warning.endswith("validation images")
    assert [record["descent"] for record in recorder.records] == [[1, 1], [1, 0], [1, 0], [1, 0]]
    logged = [record["message"] for record in open_run(tmp_path / "run").metrics() if record["event"] == "warning"]
    assert logged == [warning]


def test_one_epoch_without_descent_is_let_pass(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_two_fails_from(2, monkeypatch)
    recorder = Recorder()
    settings = ["training.certify=true", "training.on_no_descent=stop", "training.epochs=2"]
    run = train(small(*settings), tmp_path / "run", reporter=recorder)
    assert recorder.warnings == []
    state = json.loads((run / "checkpoints" / "last" / "state.json").read_text())["state"]
    assert state["progress"]["rising"] == [0, 1]  # a resumed run goes on counting


def test_descent_that_ends_can_end_the_run(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_two_fails_from(2, monkeypatch)
    recorder = Recorder()
    config = small("training.certify=true", "training.on_no_descent=stop", "training.epochs=4")
    run = open_run(train(config, tmp_path / "run", reporter=recorder))
    assert len(recorder.records) == 3
    assert recorder.warnings[0].endswith("; training ends here")
    assert run.manifest()["status"] == "finished"
    assert run.evaluation()["last"]["epoch"] == 3
