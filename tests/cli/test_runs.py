from pathlib import Path

import pytest

from torchsid.cli.runs import find_runs
from torchsid.errors import RunError


def test_a_run_and_a_directory_of_runs_each_once(tmp_path: Path) -> None:
    single, first, nested = (tmp_path / name for name in ("single", "many/a", "many/deep/b"))
    for directory in (single, first, nested):
        directory.mkdir(parents=True)
        (directory / "manifest.json").write_text("{}")
    assert find_runs([single]) == [single]
    assert find_runs([tmp_path / "many", single]) == [first, nested, single]
    assert find_runs([nested, tmp_path]) == [nested, first, single]


def test_a_directory_without_runs_is_refused(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match=str(wrong)):
            find_runs([wrong])
