import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from torchsid.errors import CheckpointError, NonFiniteError, RunError
from torchsid.training import Interrupted, RunConfig, RunDirectory, open_run, to_toml, train
from torchsid.training import epoch as epoch_module
from torchsid.training import loop as loop_module
from torchsid.training import step as step_module

from .conftest import Recorder, checkpoint_bytes, lasting

Small = Callable[..., RunConfig]
STAGED = ["model.network=staged", "model.trunk=mlp", "model.width=32", "training.conflict=false"]
STAGED += ["model.extractor=simple-cnn", "model.feature_dim=128", "model.hidden=256"]  # what a staged network does not read
VARIANTS = {
    "plain": [],
    "augmented": ["augment.crop=1", "augment.flip=true", "augment.mixup=0.4", "optimizer.schedule=cosine", "optimizer.warmup=0.2"],
    "backprop": ["learner.name=backprop", "optimizer.name=sgd", "optimizer.momentum=0.9"],
    "no validation": ["data.validation=0.0", "training.batch_size=80"],
    "conflict": ["training.conflict=true", "training.precision=bfloat16", "training.channels_last=true"],
    "staged": [*STAGED, "optimizer.head_learning_rate=0.5", "optimizer.weight_decay=0.1", "optimizer.weight_decay_on=weights"],
    "last epoch's teachers": ["learner.teachers=last-epoch"],
    "GCE": ["learner.name=gce", "data.noise.kind=symmetric", "data.noise.rate=0.4"],
    "α over the epochs": ["learner.alpha_over=epochs", "learner.alpha=linear:1.0:0.2", "learner.temperature=2"],
    "deep supervision": ["learner.name=deep-supervision", "model.init=xavier"],
    "ELR": ["learner.name=elr", "learner.label_smoothing=0.1"],
    "self-distillation": ["learner.name=self-distillation", "augment.crop=1"],
    "stage by stage": [*STAGED, "learner.update=stage", "optimizer.head_learning_rate=2.0"],
}


def interrupt_at(epoch: int, step: int) -> Recorder:
    """A reporter that sends this process SIGINT once, when a step of an epoch is done."""
    return Recorder(lambda *now: os.kill(os.getpid(), signal.SIGINT) if now == (epoch, step) else None)


@pytest.fixture(autouse=True)
def every_step_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "_REPORT_SECONDS", -1.0)


def assert_same_result(run: Path, reference: Path) -> None:
    for which in ("last", "best"):
        assert checkpoint_bytes(run, which) == checkpoint_bytes(reference, which)
    assert lasting(open_run(run).metrics()) == lasting(open_run(reference).metrics())
    assert open_run(run).evaluation() == open_run(reference).evaluation()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_is_bit_identical(small: Small, tmp_path: Path, variant: str) -> None:
    config = small(*VARIANTS[variant])
    reference = train(config, tmp_path / "reference")
    run = tmp_path / "run"
    for epoch, step in ((1, 1), (1, 4), (2, 3), (2, 4)):  # the first, the end of an epoch, the middle, the very end
        recorder = interrupt_at(epoch, step)
        with pytest.raises(Interrupted):
            train(config, run, resume=run.exists(), reporter=recorder)
        assert recorder.events == ["started", "interrupted"]
        assert open_run(run).manifest()["status"] == "interrupted"
    train(config, run, resume=True)
    assert_same_result(run, reference)
    events = [record["event"] for record in open_run(run).metrics()]
    assert events.count("epoch") == 2
    assert events.count("resume") == 4
    assert open_run(run).manifest()["status"] == "finished"


def test_a_killed_run_loses_nothing_but_time(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small("augment.crop=1", "training.checkpoint_every_seconds=1e-9")
    reference = train(config, tmp_path / "reference")
    run, copy = tmp_path / "run", tmp_path / "copy"

    def freeze(epoch: int, step: int) -> None:
        if (epoch, step) == (2, 3):  # as a power cut would leave it: saved after step 2, the log longer than that
            shutil.copytree(run, copy)
            with (copy / "metrics.jsonl").open("a") as file:
                file.write('{"event": "warning", "message": "cut off in the mid')

    train(config, run, reporter=Recorder(freeze))
    assert json.loads((copy / "checkpoints/last/state.json").read_text())["state"]["progress"]["step"] == 2
    train(config, copy, resume=True)
    assert_same_result(copy, reference)
    assert "warning" not in [record["event"] for record in open_run(copy).metrics()]


def test_a_run_killed_before_its_first_checkpoint_starts_again(small: Small, tmp_path: Path) -> None:
    config = small()
    reference = train(config, tmp_path / "reference")
    run = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        train(config, run, reporter=Recorder(lambda epoch, step: 1 // 0))
    assert not (run / "checkpoints").exists()
    train(config, run, resume=True)
    assert_same_result(run, reference)


def test_validation_and_reports_do_not_change_training(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small("augment.crop=1")
    train(config, tmp_path / "with", reporter=Recorder())
    monkeypatch.setattr(epoch_module, "_validate", lambda session: None)
    torch.manual_seed(123)  # nor does the caller's generator
    train(config, tmp_path / "without")
    assert checkpoint_bytes(tmp_path / "with") == checkpoint_bytes(tmp_path / "without")


def test_another_seed_is_another_run(small: Small, tmp_path: Path) -> None:
    config = small("training.epochs=1")
    other = replace(config, training=replace(config.training, seed=1))
    train(config, tmp_path / "a")
    train(other, tmp_path / "b")
    assert checkpoint_bytes(tmp_path / "a") != checkpoint_bytes(tmp_path / "b")


def test_training_leaves_the_callers_settings_alone(small: Small, tmp_path: Path) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    handler = signal.getsignal(signal.SIGINT)
    train(small("training.threads=2", "training.epochs=1"), tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_files_of_a_run(small: Small, tmp_path: Path) -> None:
    config = small()
    recorder = Recorder()
    run = train(config, tmp_path / "run", reporter=recorder, command="torchsid train digits")
    assert {path.name for path in run.iterdir()} == {
        "config.toml", "manifest.json", "metrics.jsonl", "checkpoints", "evaluation.json", "samples.safetensors",
    }  # fmt: skip
    assert (run / "config.toml").read_text() == to_toml(config)
    manifest = open_run(run).manifest()
    assert manifest["command"] == "torchsid train digits"
    assert manifest["locality"]["verdict"] == "local"
    assert manifest["locality"]["detail"] == recorder.locality
    assert manifest["data"]["train"] + manifest["data"]["validation"] == 300
    assert manifest["data"]["noise"]["measured"] == 0.0
    assert manifest["finished"] >= manifest["started"]
    assert manifest["train_seconds"] > 0
    assert recorder.events == ["started", "finished"]
    records = [record for record in open_run(run).metrics() if record["event"] == "epoch"]
    assert records == recorder.records
    assert [record["step"] for record in records] == [4, 8]
    assert set(records[0]) == {
        "event", "epoch", "step", "learning_rate", "train_loss", "train_stage_losses", "train_accuracy", "validation", "seconds",
        "images_per_second", "memory_mib", "skipped_steps", "data_share", "conflict", "descent",
    }  # fmt: skip
    assert len(records[0]["train_stage_losses"]) == len(records[0]["train_accuracy"]) == 2
    assert sum(records[0]["train_stage_losses"]) == pytest.approx(records[0]["train_loss"])
    assert len(records[0]["validation"]["accuracy"]) == len(records[0]["validation"]["kl"]) == 3
    evaluation = open_run(run).evaluation()
    best = max(records, key=lambda record: record["validation"]["accuracy"][-1])
    assert evaluation["best"]["epoch"] == best["epoch"]
    assert evaluation["best"]["validation"]["accuracy"] == best["validation"]["accuracy"]
    assert evaluation["last"]["validation"]["kl"] == records[-1]["validation"]["kl"]


def test_train_metrics_are_exact_for_a_ragged_last_batch(small: Small, tmp_path: Path) -> None:
    """With a learning rate of almost nothing the weights stay, so the epoch's means must be those of one big batch."""
    settings = ["optimizer.name=sgd", "optimizer.learning_rate=1e-30", "training.epochs=1", "data.validation=0.0"]
    ragged = train(small(*settings, "training.batch_size=64"), tmp_path / "ragged")
    whole = train(small(*settings, "training.batch_size=300"), tmp_path / "whole")
    (a,), (b,) = lasting(open_run(ragged).metrics()), lasting(open_run(whole).metrics())
    assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-6)
    assert a["train_accuracy"] == b["train_accuracy"]


def test_without_validation_the_last_weights_are_the_best(small: Small, tmp_path: Path) -> None:
    run = train(small("data.validation=0.0"), tmp_path / "run")
    evaluation = open_run(run).evaluation()
    assert evaluation["best"] == evaluation["last"]
    assert evaluation["best"]["validation"] is None
    assert evaluation["best"]["test"]["n"] > 0
    assert checkpoint_bytes(run, "best") == checkpoint_bytes(run, "last")


def test_patience_ends_a_run_that_no_longer_improves(small: Small, tmp_path: Path) -> None:
    config = small("training.epochs=9", "training.patience=2", "optimizer.name=sgd", "optimizer.learning_rate=1e-30")
    records = lasting(open_run(train(config, tmp_path / "run")).metrics())
    assert len(records) == 3


def test_conflict_is_a_matrix_of_cosines_for_sid_alone(small: Small, tmp_path: Path) -> None:
    config = small("training.conflict=true", "training.epochs=1")
    (record,) = lasting(open_run(train(config, tmp_path / "sid")).metrics())
    assert [len(row) for row in record["conflict"]] == [2, 2]
    assert record["conflict"][0][0] == pytest.approx(1, abs=1e-5)
    config = small("training.conflict=true", "training.epochs=1", recipe="digits-bp")
    run = open_run(train(config, tmp_path / "bp"))
    assert lasting(run.metrics())[0]["conflict"] is None
    assert run.manifest()["locality"]["verdict"] == "global"


@pytest.mark.parametrize("resume", [False, True])
def test_a_directory_with_other_things_is_left_alone(small: Small, tmp_path: Path, resume: bool) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="not empty" if not resume else "no complete run"):
        train(small(), tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_existing_run_is_not_overwritten(small: Small, tmp_path: Path) -> None:
    run = train(small("training.epochs=1"), tmp_path / "run")
    before = checkpoint_bytes(run)
    with pytest.raises(RunError, match="--resume"):
        train(small("training.epochs=1"), run)
    recorder = Recorder()
    train(small("training.epochs=1"), run, resume=True, reporter=recorder)
    assert "finished already" in recorder.warnings[0]
    assert checkpoint_bytes(run) == before


def test_resuming_with_other_settings_names_them(small: Small, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(small(), tmp_path / "run", reporter=interrupt_at(1, 1))
    with pytest.raises(CheckpointError, match=r"learner.alpha: 0.5 -> 0.7"):
        train(small("learner.alpha=0.7"), tmp_path / "run", resume=True)


def test_resuming_from_a_damaged_checkpoint_is_refused(small: Small, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(small(), tmp_path / "run", reporter=interrupt_at(1, 2))
    path = tmp_path / "run/checkpoints/last/optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors is truncated or altered"):
        train(small(), tmp_path / "run", resume=True)


def test_an_impossible_directory_is_a_run_error(small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        train(small(), tmp_path / "file" / "run")
    with pytest.raises(RunError, match="is a file"):
        train(small(), tmp_path / "file")


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


def test_a_full_disk_ends_the_run_and_keeps_the_checkpoint(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchsid.training import checkpoint

    config = small()
    reference = train(config, tmp_path / "reference")

    def fill_disk(epoch: int, step: int) -> None:
        if (epoch, step) == (2, 1):
            monkeypatch.setattr(checkpoint, "write_bytes", full)

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match="No space left on device"):
        train(config, tmp_path / "run", reporter=Recorder(fill_disk))
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["best", "last"]
    train(config, tmp_path / "run", resume=True)
    assert_same_result(tmp_path / "run", reference)


def test_nan_ends_the_run_with_step_and_stage(small: Small, tmp_path: Path) -> None:
    config = small("optimizer.name=sgd", "optimizer.learning_rate=1e30")
    with pytest.raises(NonFiniteError, match=r"epoch 1, step [23]: .*(stage|gradient).*on_non_finite = 'skip'"):
        train(config, tmp_path / "run")
    assert open_run(tmp_path / "run").manifest()["status"] == "interrupted"


def test_skipped_steps_are_counted_and_change_nothing(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = step_module.gradient_norm
    calls = iter(range(100))
    monkeypatch.setattr(
        step_module, "gradient_norm", lambda *a, **k: real(*a, **k) * (float("nan") if next(calls) in (1, 2) else 1)
    )
    recorder = Recorder()
    run = train(small("training.on_non_finite=skip"), tmp_path / "run", reporter=recorder)
    assert [record["skipped_steps"] for record in recorder.records] == [2, 0]
    assert len(recorder.warnings) == 1
    assert "epoch 1, step 2" in recorder.warnings[0]
    assert [record["event"] for record in open_run(run).metrics()].count("warning") == 1


def test_an_epoch_without_a_single_good_step_is_an_error(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "gradient_norm", lambda *a, **k: torch.tensor(float("nan")))
    with pytest.raises(NonFiniteError, match="every step of epoch 1 was skipped"):
        train(small("training.on_non_finite=skip"), tmp_path / "run")


CHILD = """
import sys
from pathlib import Path
from torchsid.training import Interrupted, resolve, train
try:
    train(resolve(sys.argv[1]), Path(sys.argv[2]))
except Interrupted as stop:
    sys.exit(128 + stop.signal)
"""


@pytest.mark.slow
def test_sigterm_saves_and_the_run_can_be_resumed(small: Small, tmp_path: Path) -> None:
    config = small("training.epochs=200")
    (tmp_path / "long.toml").write_text(to_toml(config))
    run = tmp_path / "run"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "long.toml"), str(run)])
    while not (run / "checkpoints" / "last").exists() and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 128 + signal.SIGTERM
    assert open_run(run).manifest()["status"] == "interrupted"
    before = len(lasting(open_run(run).metrics()))
    recorder = interrupt_at(min(before + 2, 200), 1)
    with pytest.raises(Interrupted):
        train(config, run, resume=True, reporter=recorder)
    numbers = [record["epoch"] for record in lasting(open_run(run).metrics())]
    assert numbers == list(range(1, len(numbers) + 1))


def test_images_that_were_left_out_are_announced(small: Small, tmp_path: Path) -> None:
    from PIL import Image

    for part in ("train", "test"):
        for name in ("dark", "light"):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(10):
                Image.new("L", (8, 8), i + 200 * (name == "light")).save(folder / f"{i}.png")
    broken = tmp_path / "images" / "train" / "dark" / "3.png"
    broken.write_bytes(broken.read_bytes()[:40])
    recorder = Recorder()
    settings = ["data.name=folder", f'data.path="{tmp_path / "images"}"', f'data.cache="{tmp_path / "cache"}"', "data.limit=0"]
    run = train(small(*settings, "data.on_bad_sample=skip"), tmp_path / "run", reporter=recorder)
    (warning,) = recorder.warnings
    assert warning.startswith("1 left out of the data")
    assert "3.png" in warning
    assert len(RunDirectory(run).manifest()["data"]["skipped"]) == 1
