from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from torchsid.errors import CheckpointError, RunError
from torchsid.tasks import images as data
from torchsid.training import RunConfig, load_network, open_run, train
from torchsid.training.evaluation import evaluate

Small = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchsid.training import resolve

    from .conftest import SMALL

    config = resolve("digits", [*SMALL, "training.epochs=4", "optimizer.learning_rate=0.05"])
    return train(config, tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_loaded_network_repeats_the_evaluation(run: Path, which: str) -> None:
    network = load_network(run, which)
    config = open_run(run).config()
    splits = data.load(config.data, seed=config.training.seed)
    assert network.config == config
    assert network.class_names == splits.class_names
    assert (network.mean, network.std) == (splits.mean, splits.std)
    assert not network.learner.module.training
    expected = open_run(run).evaluation()[which]["test"]
    assert evaluate(network.learner, splits.test, prepare=network.prepare) == expected


def test_loading_leaves_the_random_numbers_alone(run: Path) -> None:
    state = torch.random.get_rng_state()
    load_network(run)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_samples_are_held_out_images_with_the_networks_beliefs(run: Path) -> None:
    samples = load_file(open_run(run).samples_file)
    config = open_run(run).config()
    validation = data.load(config.data, seed=config.training.seed).validation
    assert samples["images"].dtype == torch.uint8
    assert samples["indices"].shape == (12,)
    assert torch.equal(validation.images[samples["indices"]], samples["images"])
    assert torch.equal(validation.labels[samples["indices"]], samples["labels"])
    network = load_network(run, "best")
    beliefs = network.learner.log_beliefs(network.prepare(samples["images"]))
    torch.testing.assert_close(samples["log_beliefs"], beliefs)


def test_without_normalisation_the_network_gets_images_as_in_training(small: Small, tmp_path: Path) -> None:
    config = small("augment.normalise=false", "training.epochs=1")
    network = load_network(train(config, tmp_path / "run"))
    images = data.load(config.data, seed=0).test.images[:3]
    torch.testing.assert_close(network.prepare(images), images / 255)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no directory"):
        open_run(tmp_path / "absent")
    with pytest.raises(RunError, match=r"config\.toml and manifest\.json missing"):
        open_run(tmp_path)


def test_a_run_without_a_checkpoint_cannot_be_loaded(run: Path, tmp_path: Path) -> None:
    for name in ("config.toml", "manifest.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    with pytest.raises(RunError, match="no checkpoint yet"):
        load_network(tmp_path)
    with pytest.raises(RunError, match=r"evaluation\.json does not exist"):
        open_run(tmp_path).evaluation()


def test_an_edited_configuration_is_noticed(small: Small, tmp_path: Path) -> None:
    path = train(small("training.epochs=1"), tmp_path / "run") / "config.toml"
    path.write_text(path.read_text().replace("alpha = 0.5", "alpha = 0.6"))
    with pytest.raises(CheckpointError, match="another configuration"):
        load_network(tmp_path / "run")
