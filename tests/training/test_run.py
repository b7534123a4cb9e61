"""The files of a run, its log, and the network in it."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from torchsid import __version__
from torchsid.errors import CheckpointError, RunError
from torchsid.tasks import Splits
from torchsid.training import RunDirectory, load_network, open_run, resolve
from torchsid.training.evaluation import evaluate
from torchsid.training.run import check_directory, cut_back, synced_size
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
