"""The files of a run, its log, and the network in it."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from torchsid import __version__
from torchsid.durable import replace_file
from torchsid.errors import CheckpointError, RunError
from torchsid.study.runs import load_run
from torchsid.tasks import Splits
from torchsid.training import RunDirectory, checkpoint, load_network, lock, open_run, resolve, to_toml
from torchsid.training.config import config_sha256
from torchsid.training.evaluation import evaluate
from torchsid.training.lock import LOCK, locked, refuse_if_in_use
from torchsid.training.run import WHICH, check_directory, cut_back, synced_size
from torchsid.training.setup import build_task


@pytest.fixture(scope="module")
def splits(finished: RunDirectory) -> Splits:
    config = finished.config()
    return build_task(config).load(config.training.seed)


@pytest.fixture
def copy(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A run that may be changed."""
    return RunDirectory(Path(shutil.copytree(finished.path, tmp_path / "copy")))


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_loaded_network_repeats_the_evaluation(finished: RunDirectory, splits: Splits, which: str) -> None:
    random = torch.random.get_rng_state()
    network = load_network(finished.path, which)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert network.config == finished.config()
    assert network.class_names == tuple(splits.about["class_names"])
    assert not network.learner.module.training
    expected = finished.evaluation()[which]["test"]
    assert evaluate(network.learner, splits.test, prepare=network.prepare) == expected


def test_samples_are_held_out_with_the_networks_beliefs(finished: RunDirectory, splits: Splits) -> None:
    samples = load_file(finished.path / "samples.safetensors")
    assert samples["indices"].shape == (12,)
    assert torch.equal(splits.validation.inputs[samples["indices"]], samples["inputs"])
    assert torch.equal(splits.validation.target[samples["indices"]], samples["target"])
    network = load_network(finished, "best")
    torch.testing.assert_close(samples["log_beliefs"], network.learner.log_beliefs(network.prepare(samples["inputs"])))


@pytest.mark.parametrize("progress", [{"epoch": 3, "step": 0, "best_epoch": 1}, {"epoch": 2, "step": 4, "best_epoch": 1}])
def test_a_best_checkpoint_of_another_moment_is_refused(copy: RunDirectory, progress: dict[str, int]) -> None:
    learner, digest = load_network(copy).learner, config_sha256(copy.config())
    optimizer = torch.optim.SGD(learner.module.parameters())
    checkpoint.save(copy.checkpoint("best"), learner, optimizer, {"progress": progress}, config_sha256=digest)
    for which in WHICH:
        with pytest.raises(CheckpointError, match="were best and last exchanged"):
            load_network(copy, which)


def test_what_is_no_run_or_not_yet_is_said(copy: RunDirectory, tmp_path: Path) -> None:
    shutil.rmtree(copy.path / "checkpoints")
    (copy.path / "evaluation.json").unlink()
    for read, words in (
        (lambda: open_run(tmp_path / "absent"), "no directory"),
        (lambda: open_run(tmp_path), r"config\.toml and manifest\.json missing"),
        (lambda: load_network(copy.path), "no checkpoint yet"),
        (copy.evaluation, r"evaluation\.json does not exist"),
    ):
        with pytest.raises(RunError, match=words):
            read()


def test_an_edited_configuration_is_noticed(copy: RunDirectory) -> None:
    text = copy.config_file.read_text()
    copy.config_file.write_text(text.replace('alpha = "auto"', "alpha = 0.6"))
    with pytest.raises(CheckpointError, match="another configuration"):
        load_network(copy)


def test_a_report_notices_an_edited_configuration_too(copy: RunDirectory) -> None:
    assert load_run(copy.path).config["training"]["epochs"] == 2
    text = copy.config_file.read_text()
    copy.config_file.write_text(text.replace("queue = 2", "queue = 3"))  # no part of a run's identity
    assert load_run(copy.path).config["distributed"]["queue"] == 3
    copy.config_file.write_text(text.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(RunError, match=r"config\.toml was changed"):
        load_run(copy.path)


def test_a_run_of_an_earlier_version_says_so_in_one_line(copy: RunDirectory) -> None:
    copy.config_file.write_text(copy.config_file.read_text().replace("[watch]", "[augment]\ncrop = 4\n\n[watch]"))
    copy.write_manifest({**copy.manifest(), "torchsid": "0.1.0"})
    for read in (copy.config, lambda: load_network(copy), lambda: check_directory(copy, resolve("digits"), resume=True)):
        with pytest.raises(RunError) as caught:
            read()
        assert "\n" not in str(caught.value)
        for words in ("made by torchsid 0.1.0", __version__, "train it again"):
            assert words in str(caught.value)


def test_the_log_is_read_whole_and_cut_on_resume(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    path = run.metrics_file
    path.write_text('{"event": "start"}\n')
    size = synced_size(path)
    path.write_text('{"event": "start"}\n{"event": "epoch", "train_loss": 0.30000000000000004}\n{"event": "ep')
    assert run.metrics() == [{"event": "start"}, {"event": "epoch", "train_loss": 0.1 + 0.2}]
    cut_back(path, size)
    assert run.metrics() == [{"event": "start"}]
    with pytest.raises(RunError, match="shorter"):
        cut_back(path, 1000)
    for altered in ('{"event": "st', "3", "[1]"):
        path.write_text(f'{{"event": "start"}}\n{altered}\n{{"event": "end"}}\n')
        with pytest.raises(RunError, match="line 2"):
            run.metrics()


@pytest.mark.parametrize("name", ["manifest.json", "evaluation.json"])
@pytest.mark.parametrize("damage", ["a number", "a key less", "no checksum"])
def test_what_was_changed_by_hand_is_noticed(copy: RunDirectory, name: str, damage: str) -> None:
    content = json.loads((copy.path / name).read_text())
    match damage:
        case "a number" if name == "manifest.json":
            content["data"]["std"] = [2 * each for each in content["data"]["std"]]
        case "a number":
            content["best"]["epoch"] += 1
        case "a key less":
            del content[min(content)]
        case "no checksum":
            del content["sha256"]
    (copy.path / name).write_text(json.dumps(content))
    read = (lambda: load_network(copy)) if name == "manifest.json" else copy.evaluation
    if (name, damage) == ("evaluation.json", "no checksum"):  # as earlier versions wrote it
        assert read()
        return
    with pytest.raises(RunError, match=rf"{name} .*restore it from a copy"):
        read()


def test_one_process_holds_a_directory_and_the_other_says_which(tmp_path: Path) -> None:
    path, warnings = tmp_path / "run", list[str]()
    refuse_if_in_use(path)
    with locked(path, warnings.append):
        for other in (lambda: refuse_if_in_use(path), lambda: locked(path, warnings.append).__enter__()):
            with pytest.raises(RunError, match=rf"run is in use by process {os.getpid()} on .*, since 20"):
                other()
    assert not path.exists()
    path.mkdir()
    (path / LOCK).write_text("of a process that was killed")
    with locked(path, warnings.append):
        (path / "config.toml").write_text("")
    assert [each.name for each in path.iterdir()] == ["config.toml"]
    assert not warnings


def test_without_locks_there_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    warnings: list[str] = []
    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    with locked(tmp_path, warnings.append):
        assert "has no locks: see to it that no other process trains there" in warnings[0]


def test_what_a_run_killed_at_its_start_has_left_is_begun_anew_and_links_are_not_followed(tmp_path: Path) -> None:
    config, run = resolve("digits"), RunDirectory(tmp_path / "run")
    run.path.mkdir()
    for name, content in ((LOCK, ""), (".manifest.json.new", '{"half'), ("config.toml", to_toml(config))):
        (run.path / name).write_text(content)
        assert not check_directory(run, config, resume=False)
    with pytest.raises(RunError, match="not empty"):
        check_directory(run, resolve("digits", ["training.seed=1"]), resume=False)
    for link in (run.path / ".manifest.json.new", run.path / "checkpoints", tmp_path / "linked"):
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(RunError, match=f"{link.name} is a symbolic link"):
            check_directory(RunDirectory(link) if link.name == "linked" else run, config, resume=True)
        link.unlink()
    (run.path / ".config.toml.new").symlink_to(tmp_path / "victim")
    (tmp_path / "victim").write_text("precious")
    replace_file(run.config_file, "a = 1")
    assert (tmp_path / "victim").read_text() == "precious"
