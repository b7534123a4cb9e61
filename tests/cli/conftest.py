import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from torchsid.cli.main import main

TINY = ("data.limit=200", "training.epochs=1", "training.batch_size=64", "watch.conflict=false")
Tiny = Callable[..., list[str]]


def arguments_of(*words: str | Path) -> list[str]:
    names = " ".join(map(str, words))
    model = [] if "digits-bp-plain" in names else ["model.depth=2"] if "staged" in names else ["model.depth=2", "model.hidden=16"]
    settings = [word for setting in (*TINY, *model) for word in ("--set", setting)]
    return ["train", *settings, *map(str, words)]


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    """The arguments of a `torchsid train` that takes about a second."""
    return arguments_of


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two finished runs on the same data, SID and backpropagation, and their report."""
    directory = tmp_path_factory.mktemp("cli") / "both"
    assert main(arguments_of("digits", "digits-bp", "--out", directory, "--quiet")) == 0
    return directory


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`trained(recipe, *settings)` is a finished tiny run, made once; tests read it and leave it as it is."""

    @cache
    def run(recipe: str, *settings: str) -> Path:
        directory = tmp_path_factory.mktemp(recipe) / "run"
        words = [word for setting in settings for word in ("--set", setting)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "jinja2", None)  # reports take longer than all the rest
            assert main(arguments_of(recipe, "--out", directory, "--quiet", *words)) == 0
        return directory

    return run


@pytest.fixture
def measured() -> Callable[..., dict[str, Any]]:
    """`measured(verb, *words)` is what a command writes as JSON."""

    def of(*words: object) -> dict[str, Any]:
        assert main([*map(str, words), "--json", "out.json"]) == 0
        content: dict[str, Any] = json.loads(Path("out.json").read_text())
        return content

    return of


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in its own directory, so that a default `runs/` lands there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The first test images of the digits, as PNG files."""
    from PIL import Image

    from torchsid.tasks import TASKS

    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"digit{index}.png" for index in range(3)]
    for path, pixels in zip(paths, TASKS.load("images")(name="digits").load(0).test.inputs[:, 0], strict=False):
        Image.fromarray(pixels.numpy()).save(path)
    return list(map(str, paths))
