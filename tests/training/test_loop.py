import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from torchsid.errors import CheckpointError, ConfigError, NonFiniteError, RunError
from torchsid.learners import LEARNERS
from torchsid.training import Interrupted, RunConfig, RunDirectory, checkpoint, loop, open_run, session, to_toml, train

from .conftest import Recorder, assert_same_result, checkpoint_digests, events, interrupt_at, lasting

Small = Callable[..., RunConfig]
TOYS = "tests.training.toys"
BITS = [f"task={TOYS}:Incomplete", "model.extractor=tests.tasks.test_own_task:Reader"]
STAGED = ["model.width=32", "optimizer.head_learning_rate=0.5"]
PHASES = ["task=continual", "data.tasks=2", "training.batch_size=25"]
STILL = ["optimizer.name=sgd", "optimizer.learning_rate=1e-30"]  # the weights stay as they are
VARIANTS = {
    "augmented": ["data.augment.crop=1", "data.augment.mixup=0.4", "optimizer.schedule=cosine", "optimizer.warmup=0.2"],
    "momentum": ["learner.name=backprop", "optimizer.name=sgd", "optimizer.momentum=0.9", "data.validation=0.0"],
    "bfloat16": ["training.precision=bfloat16", "data.channels_last=true"],
    "last epoch's teachers": ["learner.teachers=last-epoch"],
    "α over the epochs": ["learner.alpha_over=epochs", "learner.alpha=linear:1.0:0.2", "learner.temperature=2"],
    "staged": [*STAGED, "optimizer.weight_decay=0.1", "optimizer.weight_decay_on=weights"],
    "a task of one's own": [*BITS, "watch.conflict=false", "watch.certify=true"],
    "stage by stage": [*STAGED, "learner.update=stage"],
    "EWC, in phases": [*PHASES, "data.replay=50", "learner.name=ewc"],
    "LwF, in phases": [*STAGED, *PHASES, "learner.name=lwf", "learner.teacher=same-stage"],
    "freezing, in phases": [*STAGED, *PHASES, "learner.name=freezing"],
    **{name: [f"learner.name={name}"] for name in LEARNERS.names() if LEARNERS.load(name).remembers_samples},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_resumed_run_is_bit_identical(small: Small, tmp_path: Path, name: str) -> None:
    config = small(*VARIANTS[name], recipe="digits-staged" if STAGED[0] in VARIANTS[name] else "digits")
    reference, run = train(config, tmp_path / "reference"), tmp_path / "run"
    for epoch, step in ((1, 3), (2, 2)):  # at the end of an epoch, and within one
        recorder = interrupt_at(epoch, step)
        with pytest.raises(Interrupted):
            train(config, run, resume=run.exists(), reporter=recorder)
        assert recorder.events == ["started", "interrupted"]
        assert open_run(run).manifest()["status"] == "interrupted"
    train(config, run, resume=True)
    assert_same_result(run, reference)
    assert events(run) == ["start", "resume", "epoch", "resume", "epoch", "end"]
    assert open_run(run).manifest()["status"] == "finished"


def test_every_step_may_be_the_last_one(small: Small, tmp_path: Path, finished: RunDirectory) -> None:
    run = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):  # before the first checkpoint
        train(small(), run, reporter=Recorder(lambda epoch, step: 1 // 0))
    assert not (run / "checkpoints").exists()
    for now in ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)):
        with pytest.raises(Interrupted):
            train(small(), run, resume=True, reporter=interrupt_at(*now))
    train(small(), run, resume=True)
    assert_same_result(run, finished.path)


def test_a_full_disk_ends_the_run_and_keeps_the_checkpoint(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: RunDirectory
) -> None:
    run = tmp_path / "run"

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill_disk(epoch: int, step: int) -> None:
        if (epoch, step) == (2, 1):
            monkeypatch.setattr(checkpoint, "write_bytes", full)

    with pytest.raises(RunError, match="No space left on device"):
        train(small(), run, reporter=Recorder(fill_disk))
    monkeypatch.undo()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best", "last"]
    train(small(), run, resume=True)
    assert_same_result(run, finished.path)


@pytest.mark.parametrize(
    ("name", "now"),
    [("", (1, 1)), ("config.toml", (1, 3)), ("checkpoints/last", (2, 1)), ("metrics.jsonl", (2, 2)), ("manifest.json", (2, 3))],
)
def test_what_is_moved_while_training_ends_the_run_and_nothing_is_made_anew(
    small: Small, tmp_path: Path, name: str, now: tuple[int, int]
) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"

    def move(epoch: int, step: int) -> None:
        if (epoch, step) == now:
            (run / name).rename(moved)

    with pytest.raises(RunError, match=name or "run"):
        train(small(), run, reporter=Recorder(move))
    assert moved.exists()
    assert not (run / name).exists()
    moved.rename(run / name)
    train(small(), run, resume=True)
    assert events(run)[-1] == "end"


def test_a_signal_during_the_last_evaluation_is_heeded_when_the_run_has_finished(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.evaluate_run
    monkeypatch.setattr(loop, "evaluate_run", lambda session: (os.kill(os.getpid(), signal.SIGTERM), real(session))[1])
    with pytest.raises(Interrupted) as caught:
        train(small("training.epochs=1"), tmp_path / "run")
    assert caught.value.signal == signal.SIGTERM
    assert open_run(tmp_path / "run").manifest()["status"] == "finished"


def test_of_equally_accurate_epochs_the_one_of_least_loss_is_best() -> None:
    best = session.Progress(best_accuracy=0.5, best_loss=0.7)
    judged = [(0.5, 0.6, True), (0.5, 0.7, False), (0.5, 0.8, False), (0.6, 0.9, True), (0.4, 0.1, False)]
    for accuracy, loss, better in judged:
        assert loop._is_better(accuracy, loss, best) is better
        assert loop._is_better(accuracy, loss, best, by_loss=True) is (loss < 0.7)
    assert loop._is_better(0.0, 9.0, session.Progress(), by_loss=True)


@pytest.mark.parametrize("existed", [False, True])
def test_a_disk_that_is_full_from_the_start_gets_nothing(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    run = tmp_path / "run"
    if existed:
        run.mkdir()

    def refuse(self: RunDirectory, manifest: object) -> None:
        raise RunError("No space left on device")

    monkeypatch.setattr(RunDirectory, "write_manifest", refuse)
    with pytest.raises(RunError, match="No space left"):
        train(small(), run)
    assert list(tmp_path.rglob("*")) == ([run] if existed else [])


def test_resuming_a_damaged_or_another_run_is_refused(small: Small, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(small(), run, reporter=interrupt_at(1, 2))
    with pytest.raises(CheckpointError, match=r"learner.alpha: 'auto' -> 0.7$"):
        train(small("learner.alpha=0.7", "distributed.queue=7"), run, resume=True)
    manifest = open_run(run).manifest()
    open_run(run).write_manifest({**manifest, "data": {**manifest["data"], "fingerprint": {"x": "y"}}})
    with pytest.raises(CheckpointError, match=r"data have changed(?s:.*)not there any more: x\n  - new: arrays/train"):
        train(small(), run, resume=True)
    open_run(run).write_manifest({**manifest, "versions": {**manifest["versions"], "torch": "1.0"}})
    path = run / "checkpoints/last/optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    recorder = Recorder()
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors is truncated or altered"):
        train(small(), run, resume=True, reporter=recorder)
    assert "torch 1.0 -> " in recorder.warnings[0]


def test_a_run_goes_on_with_the_same_data_elsewhere_and_with_others_it_says_how_they_differ(small: Small, tmp_path: Path) -> None:
    folder, moved = tmp_path / "photos", tmp_path / "elsewhere"
    for i in range(60):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 4 * i).save(folder / "ab"[i % 2] / f"{i:02}.png")

    def config(path: Path, cache: str = "one") -> RunConfig:
        settings = ["data.name=folder", f"data.path={path}", f"data.cache={tmp_path / cache}", "training.batch_size=8"]
        return small("data.limit=0", *settings)

    whole = train(config(folder), tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(config(folder), tmp_path / "run", reporter=interrupt_at(1, 2))
    folder.rename(moved)
    before = (tmp_path / "run" / "config.toml").read_bytes()
    first, last = moved / "a" / "00.png", moved / "a" / "58.png"
    swaps: list[tuple[Callable[[], object], str]] = [
        (lambda: (first.rename(moved / "x"), last.rename(first), (moved / "x").rename(last)), "other bytes: 60 images"),
        (lambda: (moved / "b").rename(moved / "c"), "the classes are a, c, and were a, b when the run began"),
        (first.unlink, r"not there any more: 60 images(?s:.*)new: 59 images"),
    ]
    for swap, message in swaps:
        shutil.copytree(moved, tmp_path / "copy")
        swap()
        with pytest.raises(CheckpointError, match=message):
            train(config(moved), tmp_path / "run", resume=True)
        shutil.rmtree(moved)
        (tmp_path / "copy").rename(moved)
    assert before == (tmp_path / "run" / "config.toml").read_bytes()
    assert_same_result(train(config(moved, "two"), tmp_path / "run", resume=True), whole)


@pytest.mark.parametrize("resume", [False, True])
def test_a_directory_with_other_things_is_left_alone(small: Small, tmp_path: Path, resume: bool) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear")
    not_empty = "no complete run" if resume else "not empty"
    for path, words in ((tmp_path, not_empty), (letter, "is a file"), (letter / "run", r"letter\.txt")):
        with pytest.raises(RunError, match=words):
            train(small(), path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_the_files_of_a_run(small: Small, finished: RunDirectory) -> None:
    names = "config.toml manifest.json metrics.jsonl checkpoints evaluation.json samples.safetensors"
    assert {path.name for path in finished.path.iterdir()} == set(names.split())
    assert finished.config_file.read_text() == to_toml(small())
    manifest, evaluation = finished.manifest(), finished.evaluation()
    assert manifest["command"] == "torchsid train digits"
    assert manifest["locality"]["verdict"] == "local"
    assert manifest["data"]["train"] + manifest["data"]["validation"] == 150
    assert manifest["finished"] >= manifest["started"]
    assert min(manifest["train_seconds"], manifest["kept_bytes"], manifest["peak_memory_mib"]) > 0
    first, last = records = [record for record in finished.metrics() if record["event"] == "epoch"]
    assert (first["step"], last["step"]) == (3, 6)
    assert len(first["train_stage_losses"]) == len(first["train_accuracy"]) == 2
    assert sum(first["train_stage_losses"]) == pytest.approx(first["train_loss"])
    assert len(first["validation"]["accuracy"]) == len(first["validation"]["kl"]) == 3
    assert (first["conflict"][0][0], first["conflict"][0][1]) == (pytest.approx(1, abs=1e-5), first["conflict"][1][0])
    best = max(records, key=lambda record: (record["validation"]["accuracy"][-1], -record["validation"]["loss"]))
    assert evaluation["best"]["epoch"] == best["epoch"]
    assert evaluation["best"]["validation"]["accuracy"] == best["validation"]["accuracy"]
    assert evaluation["last"]["validation"]["kl"] == last["validation"]["kl"]
    before, recorder = checkpoint_digests(finished.path), Recorder()
    train(small(), finished.path, resume=True, reporter=recorder)
    assert "finished already" in recorder.warnings[0]
    assert checkpoint_digests(finished.path) == before


def test_who_listens_and_what_the_caller_does_change_nothing(small: Small, tmp_path: Path, finished: RunDirectory) -> None:
    torch.manual_seed(123)
    state, threads, handler = torch.random.get_rng_state(), torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    recorder = Recorder()
    run = train(small(), tmp_path / "run", reporter=recorder)
    assert_same_result(run, finished.path)
    assert recorder.events == ["started", "finished"]
    assert recorder.records == [record for record in open_run(run).metrics() if record["event"] == "epoch"]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (torch.get_num_threads(), signal.getsignal(signal.SIGINT)) == (threads, handler)


def test_train_metrics_are_exact_for_a_ragged_last_batch(small: Small, tmp_path: Path) -> None:
    """Of 300 rows of bits, whose positions have weights."""
    recorder = Recorder()
    for size in (128, 300):
        config = small(*BITS, *STILL, f"training.batch_size={size}", "training.epochs=1")
        run = train(config, tmp_path / str(size), reporter=recorder)
        assert open_run(run).manifest()["data"]["skipped"] == ["row 7: lost"]
    left_out = [warning for warning in recorder.warnings if "validation positions" not in warning]
    assert left_out == 2 * ["remarks on the data: row 7: lost"]
    ragged, whole = recorder.records
    assert ragged["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-6)
    assert ragged["train_accuracy"] == pytest.approx(whole["train_accuracy"], rel=1e-12)


def test_without_validation_the_last_weights_are_the_best(small: Small, tmp_path: Path) -> None:
    run, other = (
        train(small("data.validation=0.0", "training.epochs=1", f"training.seed={seed}"), tmp_path / str(seed)) for seed in (0, 1)
    )
    evaluation = open_run(run).evaluation()
    assert evaluation["best"] == evaluation["last"]
    assert (evaluation["best"]["validation"], evaluation["best"]["test"]["n"]) == (None, 355)
    assert checkpoint_digests(run, "best") == checkpoint_digests(run, "last") != checkpoint_digests(other)


def test_patience_ends_a_run_that_no_longer_improves(small: Small, tmp_path: Path) -> None:
    assert len(lasting(train(small(*STILL, "training.epochs=9", "training.patience=2"), tmp_path / "run"))) == 3


def test_nan_ends_the_run_with_step_and_stage(small: Small, tmp_path: Path) -> None:
    config = small("optimizer.name=sgd", "optimizer.learning_rate=1e30")
    with pytest.raises(NonFiniteError, match=r"epoch 1, step [23]: .*(stage|gradient).*on_non_finite = 'skip'"):
        train(config, tmp_path / "run")
    assert open_run(tmp_path / "run").manifest()["status"] == "interrupted"
    assert open_run(tmp_path / "run").metrics()[-1]["event"] == "error"


def test_a_last_step_that_makes_weights_infinite_ends_the_run_without_a_validation_to_show_it(small: Small, tmp_path: Path) -> None:
    one_step = ["data.validation=0.0", "training.epochs=1", "training.batch_size=5000"]
    with pytest.raises(NonFiniteError, match=r"epoch 1: its last step left NaN or infinity in .*optimizer\.learning_rate"):
        train(small(*one_step, "optimizer.name=sgd", "optimizer.learning_rate=1e300"), tmp_path / "run")


def test_skipped_steps_are_counted_until_none_is_left(small: Small, tmp_path: Path) -> None:
    recorder = Recorder()
    flawed = [f"learner.name={TOYS}:Flawed", "training.on_non_finite=skip", "watch.conflict=false", "training.epochs=3"]
    with pytest.raises(NonFiniteError, match="every step of epoch 3 was skipped"):
        train(small(*flawed, "learner.bad=[2, 3, 7, 8, 9]"), tmp_path / "run", reporter=recorder)
    assert [record["skipped_steps"] for record in recorder.records] == [2, 0]
    assert len(recorder.warnings) == 2  # one an epoch
    assert "epoch 1, step 2" in recorder.warnings[0]
    assert [record["event"] for record in open_run(tmp_path / "run").metrics()].count("warning") == 2


ONE_BY_ONE = ["model.network=plain", "model.trunk=resnet-18", "model.width=8", "training.batch_size=1", "watch.conflict=false"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.loggers=['tensorboard', 'mlfow']"], r"(?s)torchsid\[tensorboard\].*mlflow"),
        ([f"model.extractor={TOYS}:flat"], "watch.conflict = true.*to false"),
        ([*ONE_BY_ONE, "learner.name=backprop"], r"training\.batch_size = 1 gives a BatchNorm .* set it to 2 or more"),
    ],
    ids=["no loggers", "no conflict", "no variance"],
)
def test_what_cannot_be_recorded_or_trained_is_an_error_before_anything_is_written(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], words: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.delitem(sys.modules, "torchsid.training.loggers.tensorboard", raising=False)
    with pytest.raises(ConfigError, match=words):
        train(small(*overrides), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
