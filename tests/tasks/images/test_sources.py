from pathlib import Path

from torchsid.tasks.images.sources import first_match


def test_the_first_pattern_with_a_file_wins_and_its_files_are_sorted(tmp_path: Path) -> None:
    for name in ("b-2", "b-1", "c"):
        (tmp_path / name).touch()
    (tmp_path / "a").mkdir()
    assert first_match(tmp_path, ["a", "b-*", "c"]) == [tmp_path / "b-1", tmp_path / "b-2"]
    assert first_match(tmp_path, ["x*"]) == []
