from pathlib import Path

import pytest

from torchsid.errors import ConfigError
from torchsid.study.experiments.costs import is_cost, load
from torchsid.study.experiments.costs.plan import Memory, Timing
from torchsid.study.experiments.experiment import names

MINE = """
kind = "timing"
question = "Where?"
rounds = 3

[[shared]]
extractor = "mlp"
depths = [2, 4]

[[staged]]
model = "mlp"
blocks = 4
stages = [2, 4]
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return path


@pytest.mark.parametrize(("name", "kind"), [("timing", Timing), ("memory", Memory)])
def test_the_shipped_ones(name: str, kind: type) -> None:
    found = load(name)
    assert isinstance(found, kind)
    assert is_cost(name)
    assert (found.name, found.size) == (name, "small")
    assert found.question.endswith("?")
    assert found.shared
    assert found.staged
    assert names(name) == {name: found.question}


def test_an_experiment_that_trains_is_none() -> None:
    assert not is_cost("alpha")
    assert "alpha" in names("training")
    assert "timing" not in names("training")


def test_a_file_of_ones_own(mine: Path) -> None:
    found = load(str(mine))
    assert isinstance(found, Timing)
    assert (found.name, found.rounds, found.threads) == ("mine", 3, 1)
    assert (found.shared[0].depths, found.shared[0].hidden, found.staged[0].blocks) == ([2, 4], 256, 4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "timing"', 'kind = "timming"', r"did you mean 'timing'\?"),
        ("rounds = 3", "rounds = 1", "rounds = 1"),
        ("rounds = 3", "ruonds = 3", "ruonds"),
        ("depths = [2, 4]", "depths = [4, 2]", r"shared\.0\.depths = \[4, 2\]: give each number once, in ascending order"),
        ("depths = [2, 4]", "depths = []", r"shared\.0\.depths = \[\]"),
        ('extractor = "mlp"', 'extractor = "mpl"', r"did you mean 'mlp'\?"),
        ('model = "mlp"', 'model = "resnet-18"', "only the model mlp has them"),
        ("stages = [2, 4]", "stages = [1]", r"staged\.0\.stages\.0 = 1"),
        ("stages = [2, 4]", "stages = [2]\nwindows = [1]", r"staged\.0\.windows"),
        (MINE[MINE.index("[[shared]]") :], "", "nothing to measure"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(mine: Path, old: str, new: str, message: str) -> None:
    mine.write_text(MINE.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load(str(mine))


def test_a_window_has_at_most_as_many_stages_as_there_are(mine: Path) -> None:
    table = MINE.replace('"timing"', '"memory"').replace("rounds = 3", "")
    mine.write_text(f"{table}windows = [1, 8]\n")
    with pytest.raises(ConfigError, match=r"staged\.0\.windows = \[1, 8\]: allowed is 1 to 4"):
        load(str(mine))


def test_all_problems_are_named_at_once(mine: Path) -> None:
    mine.write_text(MINE.replace('"mlp"', '"mpl"').replace("[2, 4]", "[4, 4]"))
    with pytest.raises(ConfigError) as error:
        load(str(mine))
    assert len(error.value.problems) == 5  # the extractor, the model, its blocks, two lists
