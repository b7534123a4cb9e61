import tomllib
from pathlib import Path

import pytest

from torchsid.training.recipes import names, resolve
from torchsid.training.toml import config_sha256, to_toml


@pytest.mark.parametrize("name", names())
def test_a_written_configuration_reads_back_equal(name: str, tmp_path: Path) -> None:
    config = resolve(name, ["learner.alpha=linear:1.0:0.2", "training.checkpoint_every_seconds=1e-7"])
    (tmp_path / "config.toml").write_text(to_toml(config), "utf-8")
    assert resolve(tmp_path / "config.toml") == config


@pytest.mark.parametrize("text", ['quo"te', "back\\slash", "ein Käse 🧀", "tab\tnew\nline", "\x7f\x00"])
def test_strings_are_escaped(text: str) -> None:
    assert tomllib.loads(to_toml(resolve("digits", [f"label={text}"])))["label"] == text


def test_lists_and_booleans() -> None:
    table = tomllib.loads(to_toml(resolve("digits", ["learner.alpha=[1.0, 0.5, 0.5, 0.5, 1e-3]", "augment.flip=true"])))
    assert table["learner"]["alpha"] == [1.0, 0.5, 0.5, 0.5, 1e-3]
    assert table["augment"]["flip"] is True


def test_the_checksum_follows_the_settings() -> None:
    assert config_sha256(resolve("digits")) == config_sha256(resolve("digits"))
    assert config_sha256(resolve("digits")) != config_sha256(resolve("digits", ["training.seed=1"]))


def test_settings_of_later_versions_leave_the_checksum_alone_until_they_are_used() -> None:
    before = "837f5ff3cd6e62395e8cc85126b47ac91dd7d239451c364b3c38ab37f12fc303"
    assert config_sha256(resolve("digits")) == before
    assert config_sha256(resolve("digits", ["learner.temperature=2.0"])) != before
    assert config_sha256(resolve("digits", ["model.init=xavier"])) != before
