from pathlib import Path

import pytest
from tests.study.experiments.samples import experiment

from torchsid.errors import ConfigError
from torchsid.study.experiments.costs import is_cost
from torchsid.study.experiments.experiment import Axis, ContenderConfig, Size, choose, load, names
from torchsid.study.experiments.grid import check

NO_FILES = ("digits", "pair", "diabetes", "cartpole")  # recipes of data that come with packages, or are made up
TINY = """
question = "Which?"
recipe = "digits"
rates = [0.001]
seeds = [0]
settings = { "training.epochs" = 1, "data.limit" = 200 }

[contenders]
BP = { "learner.name" = "backprop" }
SID = { seeds = [0] }

[medium]
recipe = "mnist-paper"
minutes = 30
settings = { "training.epochs" = 2 }
"""


@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize("name", [name for name in names() if not is_cost(name)])
def test_shipped_experiments_are_made_of_settings_that_fit(name: str, size: Size) -> None:
    found = load(name, size)
    assert (found.name, found.size) in {(name, size), (name, "small")}  # one of data that are always the same has no other size
    assert found.size == "medium" or found.recipe.startswith(NO_FILES)
    check(found, "DIR" if found.size == "medium" else "")


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


def test_a_file_has_settings_and_its_own_words_apart_and_medium_says_only_what_differs(tiny: str) -> None:
    found = load(tiny, "medium")
    assert (found.name, found.size, found.recipe, found.rates) == ("tiny", "medium", "mnist-paper", [0.001])
    assert found.contenders == {"BP": ContenderConfig(settings={"learner.name": "backprop"}), "SID": ContenderConfig(seeds=[0])}
    assert found.settings == {"training.epochs": 2, "data.limit": 200}


@pytest.mark.parametrize(
    ("data", "minutes", "size"),
    [(False, None, "small"), (False, 900, "small"), (True, None, "medium"), (True, 30, "medium"), (True, 29, "small")],
)
def test_the_size_follows_data_and_budget(tiny: str, data: bool, minutes: float | None, size: Size) -> None:
    assert choose(tiny, data=data, minutes=minutes).size == size
    Path(tiny).write_text(TINY.partition("[medium]")[0])
    assert choose(tiny, data=data, minutes=minutes).size == "small"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('recipe = "digits"', "", "recipe is required"),
        ("rates = [0.001]", "rates = []", "rates = \\[\\]"),
        ("rates = [0.001]", "rates = [0.0]", "greater than 0"),
        ("seeds = [0]", "seds = [0]", "seds"),
        ("question", "[", "not valid TOML"),
        ("SID = { seeds = [0] }", "SID = { workers = 0 }", r"contenders\.SID\.workers = 0: should be greater"),
        ("SID = { seeds = [0] }", "SID = { sedes = 0 }", r"contenders\.SID\.sedes"),
        ("SID = { seeds = [0] }", "SID = 1", r"contenders\.SID = 1"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tiny: str, old: str, new: str, message: str) -> None:
    Path(tiny).write_text(TINY.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load(tiny)


def test_all_contradictions_are_reported_at_once() -> None:
    contenders = {"SID": ContenderConfig(times=2.0), "sid": ContenderConfig(of="nobody"), "late": ContenderConfig(seeds=[1])}
    with pytest.raises(ValueError, match="stands there twice") as error:
        experiment(contenders=contenders, metrics=["acuracy"], axis=Axis(name="L", reference="3"))
    parts = ("'nobody'", "times = 2.0", "contenders.late.seeds", "'acuracy'", "either `setting`", "'3'")
    assert all(part in str(error.value) for part in parts)


def test_a_file_about_costs_is_no_experiment_of_runs() -> None:
    with pytest.raises(ConfigError, match="kind"):
        load("timing")
