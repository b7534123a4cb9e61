import json
from collections.abc import Callable
from pathlib import Path

import pytest

from torchsid.cli.main import main

Output = pytest.CaptureFixture[str]
Trained = Callable[..., Path]


@pytest.mark.parametrize(("rule", "stage"), [("confidence>0", 1), ("confidence>1", 2), ("entropy<100", 1), ("entropy<0", 2)])
def test_evaluating_with_a_rule_that_always_or_never_holds(runs: Path, rule: str, stage: int) -> None:
    assert main(["evaluate", str(runs / "digits"), "--exit-when", rule, "--json", "out.json"]) == 0
    measured = json.loads(Path("out.json").read_text())
    found = measured["early_exit"]
    assert found["accuracy"] == pytest.approx(measured["accuracy"][stage])
    assert found["average_depth"] == found["average_computed"] == stage
    assert [row["share"] for row in found["exits"]] == [float(stage == 1), float(stage == 2)]
    assert found["operations"] == 1.0 if stage == 2 else 0 < found["operations"] < 1


def test_the_curve_is_measured_on_test_images(runs: Path) -> None:
    assert main(["evaluate", str(runs / "digits"), "--exit-curve", "--json", "out.json"]) == 0
    measured = json.loads(Path("out.json").read_text())
    curve = measured["exit_curve"]
    assert (curve["measure"], curve["test_n"]) == ("confidence", measured["n"])
    depths = [point["test"]["average_depth"] for point in curve["points"]]
    assert depths == sorted(depths, reverse=True)
    point = curve["points"][0]
    assert main(["evaluate", str(runs / "digits"), "--exit-when", point["rule"], "--json", "again.json"]) == 0
    again = json.loads(Path("again.json").read_text())["early_exit"]
    for name in ("accuracy", "average_depth", "operations"):
        assert again[name] == pytest.approx(point["test"][name])


def test_a_curve_needs_validation_images_to_choose_on_and_test_images_to_measure(
    runs: Path, trained: Trained, capsys: Output
) -> None:
    assert main(["evaluate", str(runs / "digits"), "--exit-curve", "--split", "validation"]) == 2
    assert "--split validation" in capsys.readouterr().err
    assert main(["evaluate", str(trained("digits", "data.validation=0.0")), "--exit-curve", "entropy"]) == 2
    assert "data.validation" in capsys.readouterr().err


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


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
@pytest.mark.parametrize("rule", ["confidence", "confidense>0.9", "confidence>2"])
def test_what_is_no_rule_is_refused_with_those_that_are(runs: Path, verb: str, rule: str, capsys: Output) -> None:
    assert main([verb, str(runs / "digits"), *(["gone.png"] if verb == "predict" else []), "--exit-when", rule]) == 2
    captured = capsys.readouterr()
    assert all(text in captured.err for text in (rule, "confidence>0.95", "entropy<0.1"))
    assert captured.out == ""


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("evaluate", ["--exit-when", "confidence>0.9"]),
        ("evaluate", ["--exit-curve", "entropy"]),
        ("predict", ["gone.png", "--exit-when", "confidence>0.9"]),
    ],
)
def test_a_network_without_stages_is_refused(trained: Trained, verb: str, words: list[str], capsys: Output) -> None:
    assert main([verb, str(trained("digits-bp-plain")), *words]) == 2
    assert "model.network" in capsys.readouterr().err


def test_a_cut_trunk_divides_its_batches(trained: Trained) -> None:
    assert main(["evaluate", str(trained("digits-staged")), "--exit-when", "confidence>0.2", "--json", "out.json"]) == 0
    found = json.loads(Path("out.json").read_text())["early_exit"]
    assert found["average_computed"] == found["average_depth"] < 2
    assert found["whole_batches"] == ""
