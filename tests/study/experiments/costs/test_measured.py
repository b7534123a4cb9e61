from pathlib import Path

from tests.study.experiments.costs.samples import lines_of

from torchsid.study.experiments.costs.measured import Measured

HERE, THERE = {"cpu": "a"}, {"cpu": "b"}


def test_findings_are_found_again(tmp_path: Path) -> None:
    measured = Measured(tmp_path / "out", HERE)
    assert measured.find({"depth": 2}) is None
    assert not (tmp_path / "out").exists()
    measured.add({"depth": 2, "stages": (1, 2)}, {"kept": 1})
    measured.add({"depth": 4}, {"kept": 2})
    again = Measured(tmp_path / "out", HERE)
    assert again.find({"depth": 2, "stages": [1, 2]}) == {"kept": 1}
    assert again.find({"depth": 4}) == {"kept": 2}
    assert again.finished == measured.finished > "2026"


def test_another_machine_has_found_nothing(tmp_path: Path) -> None:
    Measured(tmp_path, HERE).add({"depth": 2}, {"kept": 1})
    assert Measured(tmp_path, THERE).find({"depth": 2}) is None


def test_a_broken_line_counts_for_nothing_and_goes(tmp_path: Path) -> None:
    measured = Measured(tmp_path, HERE)
    measured.add({"depth": 2}, {"kept": 1})
    measured.add({"depth": 4}, {"kept": 2})
    text = measured.path.read_text()
    measured.path.write_text(text[:-5] + "\n[1]\n")
    again = Measured(tmp_path, HERE)
    assert again.find({"depth": 2}) == {"kept": 1}
    assert again.find({"depth": 4}) is None
    again.add({"depth": 8}, {"kept": 3})
    assert len(lines_of(again.path)) == 2
