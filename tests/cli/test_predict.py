import json
from pathlib import Path

import pytest

from torchsid.cli.main import main

Output = pytest.CaptureFixture[str]


def test_the_belief_grows_from_the_prior_stage_by_stage(runs: Path, digits: list[str], capsys: Output) -> None:
    assert main(["predict", str(runs / "digits"), digits[0], "--weights", "last"]) == 0
    header, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header == ["digit0.png", "prior", "stage", "1", "stage", "2"]
    assert [row[1] for row in rows] == ["10.0"] * 3
    final = [float(row[-2]) for row in rows]
    assert final == sorted(final, reverse=True)
    evaluation = json.loads((runs / "digits" / "evaluation.json").read_text())["last"]["test"]
    assert (int(rows[0][0]) == 5) == (evaluation["correct"][0] == "1")  # the first test image shows a 5


def test_one_table_an_image_and_no_more_classes_than_there_are(runs: Path, digits: list[str], capsys: Output) -> None:
    assert main(["predict", str(runs / "digits-bp"), *digits, "--top", "50"]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert lines[::11] == [Path(path).name for path in digits]
    assert len(lines) == 3 * 11


def test_every_file_that_is_no_image_is_named(runs: Path, digits: list[str], tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "notes.png").write_text("no image")
    assert main(["predict", str(runs / "digits"), "gone.png", *digits, "notes.png"]) == 2
    captured = capsys.readouterr()
    assert "gone.png" in captured.err
    assert "notes.png" in captured.err
    assert captured.out == ""


def test_predicting_stops_at_the_first_sure_stage(runs: Path, digits: list[str], capsys: Output) -> None:
    run = str(runs / "digits")
    assert main(["predict", run, *digits, "--top", "1"]) == 0
    whole = [line.split() for line in capsys.readouterr().out.splitlines()[1:6:2]]
    for rule, stage in (("confidence>0", 1), ("confidence>1", 2)):
        assert main(["predict", run, *digits, "--top", "1", "--exit-when", rule]) == 0
        *images, _, cost = capsys.readouterr().out.strip().splitlines()
        assert all(f"stage {stage} of 2" in line for line in images[::2])
        assert f"stage {stage}.00 of 2" in cost
        if stage == 2:
            assert [line.split()[:2] for line in images[1::2]] == [[row[0], row[-2]] for row in whole]
