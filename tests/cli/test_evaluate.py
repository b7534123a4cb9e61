"""What a trained run reaches, and what it sees in image files, with early exit and without."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow.parquet import read_table

from torchsid.cli.main import main
from torchsid.errors import printable

Output = pytest.CaptureFixture[str]
Measured = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(("split", "weights"), [("test", "best"), ("test", "last"), ("validation", "best")])
def test_the_numbers_are_those_of_the_training(runs: Path, split: str, weights: str, measured: Measured, capsys: Output) -> None:
    found = measured("evaluate", runs / "digits", "--split", split, "--weights", weights)
    captured = capsys.readouterr()
    recorded = json.loads((runs / "digits" / "evaluation.json").read_text())[weights][split]
    assert found["accuracy"] == recorded["accuracy"]
    assert found["kl"] == pytest.approx(recorded["kl"])
    assert (found["weights"], found["split"]) == (weights, split)
    rows = [line.partition("  ")[0] for line in captured.out.splitlines()]
    assert rows[1:4] == ["prior", "stage 1", "stage 2"]
    assert f"{100 * recorded['accuracy'][-1]:.2f}" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(("rule", "stage"), [("confidence>0", 1), ("confidence>1", 2), ("entropy<100", 1), ("entropy<0", 2)])
def test_a_rule_that_always_or_never_holds(runs: Path, rule: str, stage: int, measured: Measured) -> None:
    whole = measured("evaluate", runs / "digits", "--exit-when", rule)
    found = whole["early_exit"]
    assert found["accuracy"] == pytest.approx(whole["accuracy"][stage])
    assert found["average_depth"] == found["average_computed"] == stage
    assert [row["share"] for row in found["exits"]] == [float(stage == 1), float(stage == 2)]
    assert found["operations"] == 1.0 if stage == 2 else 0 < found["operations"] < 1


def test_the_curve_is_measured_on_test_images(runs: Path, measured: Measured) -> None:
    found = measured("evaluate", runs / "digits", "--exit-curve")
    curve = found["exit_curve"]
    assert (curve["measure"], curve["test_n"]) == ("confidence", found["n"])
    depths = [point["test"]["average_depth"] for point in curve["points"]]
    assert depths == sorted(depths, reverse=True)
    point = curve["points"][0]
    again = measured("evaluate", runs / "digits", "--exit-when", point["rule"])["early_exit"]
    for name in ("accuracy", "average_depth", "operations"):
        assert again[name] == pytest.approx(point["test"][name])


def test_a_curve_is_not_measured_on_what_it_is_chosen_on(runs: Path, capsys: Output) -> None:
    assert main(["evaluate", str(runs / "digits"), "--exit-curve", "--split", "validation"]) == 2
    assert "--split validation" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
@pytest.mark.parametrize("rule", ["confidence", "confidence>2"])
def test_what_is_no_rule_is_refused_with_those_that_are(runs: Path, verb: str, rule: str, capsys: Output) -> None:
    assert main([verb, str(runs / "digits"), *(["gone.png"] if verb == "predict" else []), "--exit-when", rule]) == 2
    captured = capsys.readouterr()
    assert all(text in captured.err for text in (rule, "confidence>0.95", "entropy<0.1"))
    assert captured.out == ""


def test_a_cut_trunk_divides_its_batches(trained: Callable[..., Path], measured: Measured) -> None:
    found = measured("evaluate", trained("digits-staged"), "--exit-when", "confidence>0.2")["early_exit"]
    assert found["average_computed"] == found["average_depth"] < 2
    assert found["whole_batches"] == ""


def test_the_belief_grows_from_the_prior_stage_by_stage(runs: Path, digits: list[str], capsys: Output) -> None:
    assert main(["predict", str(runs / "digits"), digits[0], "--weights", "last"]) == 0
    header, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header == [digits[0], "prior", "stage", "1", "stage", "2"]
    assert [row[1] for row in rows] == ["10.0"] * 3
    final = [float(row[-2]) for row in rows]
    assert final == sorted(final, reverse=True)
    evaluation = json.loads((runs / "digits" / "evaluation.json").read_text())["last"]["test"]
    assert (int(rows[0][0]) == 5) == (evaluation["correct"][0] == "1")  # the first test image shows a 5


def test_one_table_an_image_and_no_more_classes_than_there_are(runs: Path, digits: list[str], capsys: Output) -> None:
    assert main(["predict", str(runs / "digits-bp"), *digits, "--top", "50"]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert lines[::11] == digits
    assert len(lines) == 3 * 11


def test_a_bad_file_is_named_and_the_others_are_read(runs: Path, digits: list[str], tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "notes.png").write_text("no image")
    os.mkfifo(tmp_path / "pipe.png")
    run = str(runs / "digits")
    assert main(["predict", run, "gone.png", *digits, "notes.png", "pipe.png", "--json", "out.json"]) == 2
    captured = capsys.readouterr()
    assert "3 of 6 inputs cannot be read" in captured.err
    assert all(name in captured.err for name in ("gone.png", "notes.png", "pipe.png"))
    assert all(name in captured.out for name in digits)
    found = json.loads(Path("out.json").read_text())
    assert [image["name"] for image in found["images"]] == digits
    assert list(found["problems"]) == ["gone.png", "notes.png", "pipe.png"]
    assert sum(found["images"][0]["beliefs"]) == pytest.approx(1, abs=1e-5)


def test_folders_are_read_at_any_depth_in_the_order_of_their_names(
    runs: Path, digits: list[str], tmp_path: Path, capsys: Output
) -> None:
    names = ["a.png", "a b/1,2.png", "b/\u65e5\n\u672c.png", "b/c/=1+1.PNG", "z/\udce9.png", *(f"many/{k}.png" for k in range(9))]
    for name in names:
        target = tmp_path / "photos" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(digits[0], target)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    assert main(["predict", str(runs / "digits"), "photos", "photos/a.png", "--table", "out.csv"]) == 0
    captured = capsys.readouterr()
    assert "notes.txt" in captured.err
    shown = sorted(f"photos/{name}" for name in names)
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["name"] for row in rows) == sorted(map(printable, shown))
    assert [row["name"] for row in rows] == [line.split("  ")[0] for line in captured.out.splitlines()[1:15]]
    assert len({row["belief"] for row in rows}) == 1
    for kind in ("jsonl", "parquet"):
        assert main(["predict", str(runs / "digits"), "photos", "gone.png", "--table", f"out.{kind}"]) == 2
    written = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert written == read_table("out.parquet").to_pylist()
    assert [row["belief"] for row in written[:-1]] == [float(row["belief"]) for row in rows]
    assert "gone.png" in written[-1]["problem"]
    with pytest.raises(SystemExit):
        main(["predict", str(runs / "digits"), "photos", "--table", "out.xlsx"])
    assert ".csv, .jsonl, .parquet" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(runs / "digits"), "empty"]) == 2
    assert "empty" in capsys.readouterr().err


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


def test_what_is_for_texts_is_refused_for_classes(runs: Path, capsys: Output) -> None:
    assert main(["predict", str(runs / "digits"), "gone.png", "--temperature", "0", "--top-k", "3"]) == 2
    error = capsys.readouterr().err
    for option in ("--temperature 0.0", "--top-k 3"):
        assert f"{option}: {runs / 'digits'} answers with a class, leave it out" in error
