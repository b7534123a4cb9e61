"""What docs/extending.md adds from outside the package brings its own settings, is trained, and is found again in the run."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch import Tensor, nn

from tests.test_readme import FILE, ROOT
from torchsid.errors import ConfigError
from torchsid.settings import Count, checked
from torchsid.training import load_network, resolve, train
from torchsid.training.recipes import describe
from torchsid.training.run import LoadedNetwork


class Pixels(nn.Flatten):
    """An extractor without parameters.

    Args:
        every: Takes every so manieth pixel.
    """

    @checked
    def __init__(self, example: Tensor, *, every: Count = 1) -> None:
        super().__init__()
        self.every, self.feature_dim = every, len(example[0].flatten()[::every])

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, :: self.every]


PIXELS = f"model.extractor={__name__}:Pixels"


@pytest.fixture(scope="module", autouse=True)
def _page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The files of the page lie on the path, as `PYTHONPATH=.` has them for its reader."""
    folder = tmp_path_factory.mktemp("page")
    for file in FILE.finditer((ROOT / "docs" / "extending.md").read_text(encoding="utf-8")):
        (folder / file["name"]).write_text(file["code"], encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.mark.parametrize(
    ("recipe", "chosen", "used"),
    [
        ("digits", ["learner.name=focal:Focal", "learner.gamma=1.5"], lambda run: run.learner.gamma == 1.5),
        (
            "digits-staged",
            ["model.trunk=wide:wide", "model.hidden_units=64", "model.depth=2"],
            lambda run: run.learner.module.model[1].out_features == 64,
        ),
        (
            "digits-staged",
            ["model.head=extremes:Extremes", "model.head_sharpness=2.0"],
            lambda run: run.learner.module.heads[0].body.sharpness == 2.0,
        ),
        ("digits", [PIXELS, "model.every=2", "watch.conflict=false"], lambda run: run.learner.module.extractor.feature_dim == 32),
        ("digits", ["data.name=stripes:stripes"], lambda run: run.class_names == ("horizontal", "vertical")),
    ],
    ids=["method", "network", "head", "extractor", "data set"],
)
def test_it_is_trained_with_its_settings_and_found_again(
    recipe: str, chosen: list[str], used: Callable[[LoadedNetwork], bool], tmp_path: Path
) -> None:
    run = train(resolve(recipe, [*chosen, "training.epochs=1", "data.limit=100"]), tmp_path / "run")
    assert used(load_network(run))


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        (["learner.name=focal:Focal", "learner.gama=1"], r"unknown key 'learner.gama' \(did you mean 'learner.gamma'\?\)"),
        (["learner.name=focal:Focal", "learner.gamma=-1"], r"learner.gamma = -1: should be greater than or equal to 0"),
        (["learner.name=focal:Fokal"], r"has no attribute 'Fokal' \(did you mean 'Focal'\?\)"),
        (["learner.name=gce", "learner.gamma=1"], "unknown key 'learner.gamma'"),
        (
            ["model.network=staged", "model.trunk=mlp", "model.head=thin", "model.head_widht=1"],
            r"unknown key 'model.head_widht' \(did you mean 'model.head_width'\?\)",
        ),
        (
            ["model.network=staged", "model.trunk=mlp", "model.head=thin", "model.head_width=2"],
            r"model.head_width = 2: should be less than or equal to 1",
        ),
        ([PIXELS, "model.evry=2"], r"unknown key 'model.evry' \(did you mean 'model.every'\?\)"),
        ([PIXELS, "model.feature_dim=2"], "unknown key 'model.feature_dim'"),
    ],
)
def test_settings_are_checked_like_those_of_the_house(chosen: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        resolve("digits", chosen)


def test_its_settings_are_described() -> None:
    rows = {name: row for name, *row in describe(resolve("digits", ["learner.name=focal:Focal"]))}
    assert rows["learner.gamma"] == [2.0, "float, at least 0", "How much less an easy sample counts; 0 is the cross-entropy."]
    assert "learner.alpha" not in rows
