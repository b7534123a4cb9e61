from collections.abc import Callable
from pathlib import Path

import pytest

from torchsid.cli.main import main

TINY = ("data.limit=200", "training.epochs=1", "training.batch_size=64", "model.depth=2", "model.hidden=16")


def arguments_of(*words: str | Path) -> list[str]:
    settings = [word for setting in TINY for word in ("--set", setting)]
    return ["train", *settings, *map(str, words)]


@pytest.fixture(scope="session")
def tiny() -> Callable[..., list[str]]:
    """The arguments of a `torchsid train` that takes about a second."""
    return arguments_of


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two finished runs on the same data, SID and backpropagation, and their report."""
    directory = tmp_path_factory.mktemp("cli") / "both"
    assert main(arguments_of("digits", "digits-bp", "--out", directory, "--quiet")) == 0
    return directory


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in its own directory, so that a default `runs/` lands there."""
    monkeypatch.chdir(tmp_path)
