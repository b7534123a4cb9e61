import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import SMALL
from torchsid.cli.main import main
from torchsid.errors import ConfigError, DataError
from torchsid.study.runs import load_run
from torchsid.study.sequence import accuracy_matrix, forgetting, mean_over_groups
from torchsid.tasks.continual.task import Continual
from torchsid.tasks.domain import generator_at
from torchsid.training import open_run, resolve, train

PER_TASK = 2


def loaded(**settings: Any) -> tuple[Continual, Any]:
    task = Continual(limit=400, **settings)
    return task, task.load(0)


def test_targets_are_what_the_scenario_asks_and_groups_are_the_tasks() -> None:
    labels = loaded(scenario="class")[1].train.target
    assert labels.unique().tolist() == list(range(10))
    for scenario, outcomes, names in (("domain", 2, 2), ("task", 2, 2), ("class", 10, 10)):
        _, splits = loaded(scenario=scenario)
        about = splits.about
        assert (about["num_classes"], len(about["class_names"])) == (outcomes, names)
        assert about["groups"] == ["0, 1", "2, 3", "4, 5", "6, 7", "8, 9"]
        assert torch.equal(splits.train.group, labels // PER_TASK)
        for part in (splits.validation, splits.test):
            assert part.group.unique().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(loaded(scenario="domain")[1].train.target, labels % PER_TASK)
    task, splits = loaded(scenario="task")
    assert task.positions == (5,)
    for row, weight, label in zip(splits.train.target, splits.train.weight, labels, strict=True):
        own = int(label) // PER_TASK
        assert row[own] == label % PER_TASK
        assert (row == -100).sum() == 4
        assert weight.tolist() == [float(place == own) for place in range(5)]


@pytest.mark.parametrize("settings", [{}, {"replay": 60}, {"cumulative": True}], ids=str)
def test_an_epoch_sees_its_own_task_and_of_earlier_ones_what_is_kept(settings: dict[str, Any]) -> None:
    task, splits = loaded(**settings)
    group, size = splits.train.group, task.epoch_size(splits.train)
    assert size == len(group) // 5
    before = set[int]()
    for phase in range(5):
        epochs = [task.order(splits.train, phase, generator_at("order", 0, epoch)) for epoch in range(30)]
        assert torch.equal(epochs[3], task.order(splits.train, phase, generator_at("order", 0, 3)))
        assert {len(each) for each in epochs} == {size}
        seen = torch.cat(epochs)
        assert set((group == phase).nonzero().flatten().tolist()) <= set(seen.tolist())  # all of them in 30 epochs
        old = seen[group[seen] != phase]
        assert bool((group[old] < phase).all())
        if "replay" in settings and phase:
            counts = group[epochs[0]].bincount(minlength=5)
            assert int(counts[:phase].sum()) == size // 2
            kept = set(old.tolist())
            assert [int((group[list(kept)] == earlier).sum()) for earlier in range(phase)] == [60 // phase] * phase
            assert not (kept & before) or kept & before <= before  # what was given up does not come back
            assert phase == 1 or kept <= before | set((group == phase - 1).nonzero().flatten().tolist())
            before = kept
        elif "cumulative" in settings:
            assert set(seen.tolist()) == set((group <= phase).nonzero().flatten().tolist())
        else:
            assert not len(old)


def test_what_is_kept_is_counted_in_bytes() -> None:
    assert loaded(replay=60)[1].about["remembered_bytes"] == 60 * 8 * 8
    assert loaded()[1].about["remembered_bytes"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": 11}, "data.tasks = 11 does not divide the 10 classes of digits: set it to 1, 2, 5"),
        ({"tasks": 3}, "data.tasks = 3 does not divide the 10 classes"),
        (
            {"tasks": 10, "scenario": "domain"},
            "leaves one class to each task, and data.scenario = 'domain' asks which of them it is",
        ),
        ({"limit": 20, "validation": 0.1}, "no validation images of task .* of 5 in digits: lower data.tasks, or raise data.limit"),
    ],
    ids=str,
)
def test_tasks_that_the_data_cannot_have_are_refused(settings: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Continual(**settings).load(0)


def test_ten_tasks_of_one_class_are_fine_where_all_classes_are_asked() -> None:
    assert loaded(tasks=10)[1].train.group.unique().tolist() == list(range(10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.replay=3"], "replay = 3 is less than an image of each of 4 tasks"),
        (["data.replay=30", "data.cumulative=true"], "replay = 30 keeps some images, and cumulative = true all"),
        (["data.scenario=task", "data.augment.mixup=0.2"], "blend images of several tasks"),
        (["training.epochs=12"], "training.epochs = 12 fall into 5 equal phases: set a multiple of 5"),
        (["training.patience=2"], "training.patience could end the training before the last of 5 phases"),
        (["learner.name=ewc", "learner.method=lwf"], "learner.method = 'lwf' retains by itself"),
        (["learner.name=lwf", "learner.method=backprop", "learner.teacher=same-stage"], "'same-stage' is for stages that learn by"),
        (["learner.name=freezing", "model.network=cascade"], "learner.name = 'freezing' freezes stages of a cut trunk"),
        (["learner.name=ewc", "learner.update=stage"], "learner.method = 'sid' would update each stage"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_refused_before_anything_is_written(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve("digits-staged", ["task=continual", "training.epochs=10", *settings])


def test_a_run_is_trained_evaluated_and_reported_by_the_usual_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    few = ["data.limit=400", "data.scenario=task", "training.epochs=10", "training.batch_size=8", "training.threads=1"]
    chosen = [f"--set={each}" for each in ["task=continual", "learner.name=ewc", "learner.fisher_samples=20", *few]]
    assert main(["train", "digits-staged", "--out", str(out), *chosen]) == 0
    page = (out / "report.html").read_text("utf-8")
    assert "What later phases leave of earlier ones" in page
    assert "after training on" in page
    run = load_run(out)
    matrix = accuracy_matrix(run)
    assert matrix is not None
    assert matrix.shape == (5, 5)
    lost = [max(matrix[k][j] for k in range(j, 5)) - matrix[4][j] for j in range(4)]
    assert forgetting(run) == pytest.approx(sum(lost) / 4)
    assert mean_over_groups(run) == pytest.approx(sum(run.scores["last", "test"].groups) / 5)
    assert matrix[0][0] > 0.8
    assert open_run(out).evaluation()["best"]["epoch"] in (9, 10)  # of the last phase: before, not all tasks have been seen
    capsys.readouterr()
    assert main(["evaluate", str(out)]) == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"^ *{tasks} +\d", said, re.M) for tasks in ("0, 1", "8, 9"))


def test_a_fine_tuned_network_forgets_and_one_that_sees_all_tasks_does_not(tmp_path: Path) -> None:
    small = [each for each in SMALL if not each.startswith(("data.limit", "training."))]
    few = ["task=continual", "data.tasks=2", "training.epochs=8", "training.threads=1", "training.device=cpu"]

    def lost(*settings: str) -> float:
        run = train(resolve("digits-bp-plain", [*small, *few, *settings]), tmp_path / "-".join(["run", *settings]))
        found = forgetting(load_run(run))
        assert found is not None
        return found

    assert lost() > 0.5
    assert lost("data.cumulative=true") < 0.25


def test_images_with_names_are_reported_where_tasks_have_positions_of_their_own(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0)
    for i in range(48):
        path = tmp_path / "photos" / ("test" if i < 8 else "train") / "abcd"[i % 4] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    few = ["task=continual", "data.tasks=2", "data.scenario=task", "data.name=folder", "data.cache=off", "training.epochs=2"]
    chosen = [f"--set={each}" for each in [*few, f"data.path={tmp_path / 'photos'}", "data.validation=0.2", "data.workers=0"]]
    assert main(["train", "digits-bp-plain", "--out", str(tmp_path / "run"), *chosen]) == 0
    assert load_run(tmp_path / "run").scores["last", "test"].n == 8
