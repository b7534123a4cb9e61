from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from torchsid import LocalObjective
from torchsid.tasks import Samples
from torchsid.training import RunConfig, RunDirectory, train
from torchsid.training.descent import Descent, descent_has_stopped, descent_of, heed_descent
from torchsid.training.session import Progress

from .conftest import Recorder, checkpoint_bytes, lasting

Small = Callable[..., RunConfig]


def of(to_target: list[list[float]], weight: list[float] | None = None) -> Descent:
    """The descent of two-class beliefs in class 0 whose KL is given, `[L+1][N]`."""
    right = (-torch.tensor(to_target)).exp()
    count = right.shape[1]
    samples = Samples(torch.zeros(count, 1), torch.zeros(count, dtype=torch.int64), torch.tensor(weight) if weight else None)
    return descent_of(torch.stack([right, 1 - right], dim=-1).log(), samples, LocalObjective(), "some samples")


def test_shares_and_means_by_stage_and_rises_that_are_more_than_chance() -> None:
    found = of([[0.7, 0.7, 0.7, 0.7], [0.5, 0.5, 0.5, 0.9], [0.5, 0.4, 0.6, 0.8]])
    assert (found.shares, found.means, found.rising) == ([0.75, 0.75], pytest.approx([0.7, 0.6, 0.575]), [])
    assert of([[0.7, 9.0], [0.5, 10.0]], weight=[1.0, 0.0]).shares == [1.0]
    assert of([[0.5] * 8, [0.6] * 8]).rising == [1]
    assert of([[0.5] * 8, [0.3, 0.7] * 4]).rising == []
    assert of([[0.5] * 8, [0.31, 0.7] * 4]).rising == []  # the mean rises by a fortieth of its spread
    assert of([[0.5] * 8, [0.4] * 8, [0.45] * 8]).rising == [2]


def test_the_warning_comes_once_and_only_for_the_second_epoch_in_a_row() -> None:
    """Stage 2 rises in the epochs 2, 4, 5 and 6."""
    warnings: list[str] = []
    progress = Progress()
    setup = SimpleNamespace(config=SimpleNamespace(watch=SimpleNamespace(on_no_descent="warn")))
    session: Any = SimpleNamespace(progress=progress, warn=warnings.append, setup=setup)
    falls, rises = of([[0.7] * 8, [0.5] * 8, [0.4] * 8]), of([[0.7] * 8, [0.5] * 8, [0.6] * 8])
    stopped = []
    for found in (falls, rises, falls, rises, rises, rises):
        heed_descent(session, found)
        stopped.append(descent_has_stopped(progress))
        progress.start_next_epoch()
    assert stopped == [False, False, False, False, True, True]
    (warning,) = warnings
    assert warning.startswith("epoch 5: stage 2 no longer improves on stage 1 (mean KL 0.5000 to 0.6000)")
    assert progress.rising == [0, 3]  # which a checkpoint keeps: a resumed run goes on counting


def test_the_shares_are_in_the_record_and_training_is_the_same(small: Small, tmp_path: Path, finished: RunDirectory) -> None:
    run = train(small("watch.certify=true"), tmp_path / "run")
    assert all(len(record["descent"]) == 2 and all(0 <= share <= 1 for share in record["descent"]) for record in lasting(run))
    assert lasting(finished.path)[0]["descent"] is None
    assert checkpoint_bytes(run) == checkpoint_bytes(finished.path)
    other = ["training.epochs=1", "data.validation=0.0", "learner.label_smoothing=0.1", "learner.direction=reverse"]
    assert len(lasting(train(small("watch.certify=true", *other), tmp_path / "reverse"))[0]["descent"]) == 2
    plain = small("watch.certify=true", "training.epochs=1", recipe="digits-bp-plain")
    assert lasting(train(plain, tmp_path / "plain"))[0]["descent"] is None


def test_descent_that_ends_can_end_the_run(small: Small, tmp_path: Path) -> None:
    recorder = Recorder()
    method = ["learner.name=tests.training.toys:Overconfident", "learner.since=2"]
    config = small(*method, "watch.certify=true", "watch.on_no_descent=stop", "training.epochs=5")
    run = RunDirectory(train(config, tmp_path / "run", reporter=recorder))
    assert [record["descent"] for record in recorder.records] == [[1, 1], *2 * [[1, pytest.approx(0.1, abs=0.05)]]]
    (warning,) = recorder.warnings
    assert warning.startswith("epoch 3: stage 2 ")
    assert warning.endswith("on 30 validation samples; training ends here")
    assert [record["message"] for record in run.metrics() if record["event"] == "warning"] == [warning]
    assert (run.manifest()["status"], run.evaluation()["last"]["epoch"]) == ("finished", 3)
