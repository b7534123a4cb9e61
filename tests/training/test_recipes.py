from pathlib import Path

import pytest

from torchsid.errors import ConfigError
from torchsid.training.recipes import load_recipe, names, resolve


def test_overrides_are_toml_and_otherwise_text() -> None:
    config = resolve("digits", ["training.epochs=3", "learner.alpha=0.7", "label=my run", "training.compile=true"])
    assert (config.training.epochs, config.learner.alpha, config.label, config.training.compile) == (3, 0.7, "my run", True)


def test_a_value_cannot_smuggle_in_a_second_key() -> None:
    assert resolve("digits", ["label=1\nrecipe = 2"]).label == "1\nrecipe = 2"


def test_a_file_extends_a_shipped_recipe_and_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "digits"\nlabel = "mine"\n[training]\nepochs = 4\n')
    (tmp_path / "other.toml").write_text('extends = "mine.toml"\n[learner]\nalpha = 0.9\n')
    config = resolve(tmp_path / "other.toml")
    assert (config.recipe, config.label, config.training.epochs, config.learner.alpha) == ("other", "other", 4, 0.9)
    assert config.model == resolve("digits").model


def test_circles_are_found(tmp_path: Path) -> None:
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f'extends = "{base}.toml"\n')
    with pytest.raises(ConfigError, match="circle"):
        load_recipe(tmp_path / "a.toml")


def test_a_misspelt_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        resolve("digit")


def test_an_unknown_table_in_a_file_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "digits"\n[trainig]\nepochs = 4\nseed = 1\n')
    with pytest.raises(ConfigError) as caught:
        resolve(tmp_path / "a.toml")
    assert caught.value.problems == ("unknown key 'trainig' (did you mean 'training'?)",)


@pytest.mark.parametrize("content", [None, "a = ", b"\xff\xfe"])
def test_unreadable_files_are_named(tmp_path: Path, content: str | bytes | None) -> None:
    path = tmp_path / "a.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=r"a\.toml"):
        resolve(path)


def test_every_shipped_recipe_has_a_description_of_one_line() -> None:
    assert all(text and "\n" not in text for text in names().values())
