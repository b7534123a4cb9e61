from pathlib import Path

import pytest

from torchsid.cli.runs import find_runs
from torchsid.errors import RunError


def make(*directories: Path) -> None:
    for directory in directories:
        directory.mkdir(parents=True)
        (directory / "manifest.json").write_text("{}")


def test_a_run_and_a_directory_of_runs(tmp_path: Path) -> None:
    single, nested = tmp_path / "single", tmp_path / "many" / "deep" / "b"
    make(single, tmp_path / "many" / "a", nested)
    assert find_runs([single]) == [single]
    assert find_runs([tmp_path / "many", single]) == [tmp_path / "many" / "a", nested, single]


def test_a_run_named_twice_counts_once(tmp_path: Path) -> None:
    make(tmp_path / "a", tmp_path / "b")
    assert find_runs([tmp_path / "b", tmp_path]) == [tmp_path / "b", tmp_path / "a"]


def test_a_directory_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        find_runs([tmp_path])
    with pytest.raises(RunError, match="is no directory"):
        find_runs([tmp_path / "missing"])
