"""A run that starts from another one's weights reads by its vocabulary, and says what does not fit."""

import shutil
from pathlib import Path

import pytest
import torch

from torchsid.errors import ConfigError, DataError, RunError
from torchsid.training import load_network, open_run, resolve, train

SMALL = ["model.width=16", "model.blocks=2", "data.context=8", "training.epochs=1", "training.batch_size=16"]


def settings(tmp_path: Path, text: str, *more: str) -> list[str]:
    file = tmp_path / f"{len(text)}.txt"
    file.write_text(text)
    return [f"data.path={file}", f"data.cache={tmp_path / 'cache'}", *SMALL, *more]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another text, by backpropagation."""
    tmp_path = tmp_path_factory.mktemp("trained")
    return train(resolve("shakespeare-bp", settings(tmp_path, "sea shells, sea shore. " * 40)), tmp_path / "old")


def test_weights_and_vocabulary_are_those_of_the_old_run_also_where_the_model_is_cut(tmp_path: Path, trained: Path) -> None:
    old = shutil.copytree(trained, tmp_path / "copy")
    more = [f"training.start_from={old}", "model.depth=2", "optimizer.learning_rate=1e-12"]
    config = resolve("shakespeare", settings(tmp_path, "see all her shells. " * 30, *more))
    new = load_network(train(config, tmp_path / "new"))
    before = load_network(old).learner.module.state_dict()
    for name, tensor in new.learner.module.model.state_dict().items():  # type: ignore[operator, union-attr]
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-6)
    assert new.about["characters"] == open_run(old).about()["characters"]
    shutil.rmtree(old)
    assert train(config, tmp_path / "new", resume=True)


@pytest.mark.parametrize(
    ("text", "more", "kind", "message"),
    [
        ("Sea! " * 90, "", DataError, "'!', 'S'"),
        ("sea " * 90, "data.tokens=bytes", DataError, "set data.tokens = 'characters'"),
        ("sea " * 90, "model.width=20", ConfigError, "the weights of training.start_from do not fit the network: positions is"),
        ("sea " * 90, "training.start_from=nowhere", RunError, "training.start_from: nowhere is no directory"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, trained: Path, text: str, more: str, kind: type[Exception], message: str
) -> None:
    given = [f"training.start_from={trained}", *filter(None, [more])]
    with pytest.raises(kind, match=message):
        train(resolve("shakespeare-bp", settings(tmp_path, text, *given)), tmp_path / "new")
    assert not (tmp_path / "new" / "manifest.json").exists()
