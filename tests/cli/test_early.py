import json
from collections.abc import Callable
from pathlib import Path

import pytest

from torchsid.cli.main import main
from torchsid.tasks import images as data
from torchsid.tasks.images import DataConfig

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., list[str]]) -> Path:
    """A run of a network without stages."""
    directory = tmp_path_factory.mktemp("plain") / "run"
    assert main(tiny("digits-bp-plain", "--out", directory, "--quiet")) == 0
    return directory


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """The first test images of the digits, as PNG files."""
    pil = pytest.importorskip("PIL.Image")
    paths = [tmp_path / f"digit{index}.png" for index in range(3)]
    for path, pixels in zip(paths, data.load(DataConfig(name="digits"), seed=0).test.images[:, 0], strict=False):
        pil.fromarray(pixels.numpy()).save(path)
    return list(map(str, paths))


@pytest.mark.parametrize(("rule", "stage"), [("confidence>0", 1), ("confidence>1", 2), ("entropy<100", 1), ("entropy<0", 2)])
def test_evaluating_with_a_rule_that_always_or_never_holds(runs: Path, rule: str, stage: int, capsys: Output) -> None:
    assert main(["evaluate", str(runs / "digits"), "--exit-when", rule, "--json", "out.json"]) == 0
    measured = json.loads(Path("out.json").read_text())
    found = measured["early_exit"]
    assert found["accuracy"] == pytest.approx(measured["accuracy"][stage])
    assert found["average_depth"] == found["average_computed"] == stage
    assert [row["share"] for row in found["exits"]] == [float(stage == 1), float(stage == 2)]
    assert found["operations"] == 1.0 if stage == 2 else 0 < found["operations"] < 1
    shown = capsys.readouterr().out
    assert f"average exit after stage {stage}.00 of 2" in shown
    assert "wait for" not in shown


def test_the_curve_is_measured_on_test_images(runs: Path, capsys: Output) -> None:
    assert main(["evaluate", str(runs / "digits"), "--exit-curve", "--json", "out.json"]) == 0
    measured = json.loads(Path("out.json").read_text())
    curve = measured["exit_curve"]
    assert curve["measure"] == "confidence"
    assert curve["test_n"] == measured["n"]
    depths = [point["test"]["average_depth"] for point in curve["points"]]
    assert depths == sorted(depths, reverse=True)
    assert f"test, n = {measured['n']:,}" in capsys.readouterr().out

    point = curve["points"][0]
    assert main(["evaluate", str(runs / "digits"), "--exit-when", point["rule"], "--json", "again.json"]) == 0
    again = json.loads(Path("again.json").read_text())["early_exit"]
    assert again["accuracy"] == pytest.approx(point["test"]["accuracy"])
    assert again["average_depth"] == pytest.approx(point["test"]["average_depth"])
    assert again["operations"] == pytest.approx(point["test"]["operations"])


def test_a_curve_needs_validation_images_to_choose_on_and_test_images_to_measure(
    runs: Path, tmp_path: Path, tiny: Callable[..., list[str]], capsys: Output
) -> None:
    assert main(["evaluate", str(runs / "digits"), "--exit-curve", "--split", "validation"]) == 2
    assert "--split validation" in capsys.readouterr().err
    assert main(tiny("digits", "--set", "data.validation=0", "--out", tmp_path / "run", "--quiet")) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--exit-curve", "entropy"]) == 2
    assert "data.validation" in capsys.readouterr().err


def test_predicting_stops_at_the_first_sure_stage(runs: Path, images: list[str], capsys: Output) -> None:
    run = str(runs / "digits")
    for rule, stage in (("confidence>0", 1), ("confidence>1", 2)):
        assert main(["predict", run, *images, "--top", "2", "--exit-when", rule]) == 0
        *lines, last = capsys.readouterr().out.splitlines()
        assert len(lines) == 3 * 3
        assert [line.split() for line in lines[::3]] == [[Path(path).name, "stage", str(stage), "of", "2"] for path in images]
        assert last.startswith(f"average exit after stage {stage}.00 of 2")
        assert main(["predict", run, *images, "--top", "1"]) == 0
        whole = [line.split() for line in capsys.readouterr().out.splitlines()[1::2]]
        if stage == 2:
            assert [line.split()[:2] for line in lines[1::3]] == [[row[0], row[-2]] for row in whole]


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
@pytest.mark.parametrize("rule", ["confidence", "confidense>0.9", "confidence>2"])
def test_what_is_no_rule_is_refused_with_those_that_are(runs: Path, verb: str, rule: str, capsys: Output) -> None:
    assert main([verb, str(runs / "digits"), *(["gone.png"] if verb == "predict" else []), "--exit-when", rule]) == 2
    captured = capsys.readouterr()
    assert rule in captured.err
    assert "confidence>0.95" in captured.err
    assert "entropy<0.1" in captured.err
    assert captured.out == ""


def test_a_network_without_stages_is_refused(plain: Path, capsys: Output) -> None:
    for arguments in (["evaluate", "--exit-when", "confidence>0.9"], ["evaluate", "--exit-curve", "entropy"]):
        assert main([arguments[0], str(plain), *arguments[1:]]) == 2
        assert "no stage to leave at" in capsys.readouterr().err
    assert main(["predict", str(plain), "gone.png", "--exit-when", "confidence>0.9"]) == 2
    assert "no stage to leave at" in capsys.readouterr().err


def test_a_cut_trunk_divides_its_batches(tmp_path: Path, tiny: Callable[..., list[str]], capsys: Output) -> None:
    arguments = tiny("digits-staged", "--out", tmp_path / "run", "--quiet")
    at = arguments.index("model.hidden=16")  # belongs to another kind of network
    assert main(arguments[: at - 1] + arguments[at + 1 :]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--exit-when", "confidence>0.2", "--json", "out.json"]) == 0
    found = json.loads(Path("out.json").read_text())["early_exit"]
    assert found["average_computed"] == found["average_depth"] < 2
    assert "wait for" not in capsys.readouterr().out
