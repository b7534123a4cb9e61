"""What verbs share: the runs they are given, the data of a run, and how they refuse both."""

import argparse
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from torchsid.cli.arguments import find_runs, positive
from torchsid.cli.main import main
from torchsid.errors import RunError
from torchsid.training import open_run

Output = pytest.CaptureFixture[str]
Trained = Callable[..., Path]
NO_VALIDATION = ("digits", "data.validation=0.0")


def test_positive() -> None:
    assert positive("12") == 12
    for text in ("0", "-1", "1.5", "", "three", "²"):
        with pytest.raises(argparse.ArgumentTypeError):
            positive(text)


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


@pytest.mark.parametrize("verb", ["evaluate", "certify", "audit", "compare", "report", "predict"])
def test_no_run_is_one_message(verb: str, capsys: Output) -> None:
    assert main([verb, "nowhere", *(["image.png"] if verb == "predict" else [])]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nowhere" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "RUN", "--exit-when", "confidence>0.9"],
        ["evaluate", "RUN", "--exit-curve", "entropy"],
        ["predict", "RUN", "gone.png", "--exit-when", "confidence>0.9"],
        ["certify", "RUN"],
    ],
)
def test_a_network_without_stages_is_refused(trained: Trained, words: list[str], capsys: Output) -> None:
    run = str(trained("digits-bp-plain"))
    assert main([run if word == "RUN" else word for word in words]) == 2
    assert "model.network" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["evaluate", "--exit-curve", "entropy"], ["evaluate", "--split", "validation"]])
def test_a_split_without_samples_is_refused(trained: Trained, words: list[str], capsys: Output) -> None:
    assert main([words[0], str(trained(*NO_VALIDATION)), *words[1:]]) == 2
    assert "no validation samples" in capsys.readouterr().err


def test_where_all_splits_are_meant_one_without_samples_is_left_out(trained: Trained, capsys: Output) -> None:
    assert main(["certify", str(trained(*NO_VALIDATION))]) == 0
    assert "validation" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "other"), [(["evaluate"], "test"), (["audit"], "train"), (["certify", "--split", "test", "train"], "train")]
)
def test_other_samples_than_those_trained_on_are_pointed_out(runs: Path, words: list[str], other: str, capsys: Output) -> None:
    shutil.copytree(runs / "digits", "run")
    content = open_run(Path("run")).manifest()
    content["data"]["fingerprint"][f"arrays/{other}"] = "0" * 64
    open_run(Path("run")).write_manifest(content)
    assert main([words[0], "run", *words[1:]]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert f"{other} samples" in warning


def test_the_data_may_have_moved(tmp_path: Path, tiny: Callable[..., list[str]], digits: list[str], capsys: Output) -> None:
    for split, label, image in itertools.product(("train", "test"), "ab", digits):
        (tmp_path / "old" / split / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, tmp_path / "old" / split / label)
    settings = [word for setting in ("name=folder", "validation=0.0", "limit=0") for word in ("--set", f"data.{setting}")]
    assert main(tiny("digits", "--out", "run", "--quiet", *settings, "--data", "old")) == 0
    (tmp_path / "old").rename(tmp_path / "new")
    assert main(["evaluate", "run"]) == 2
    assert "old" in capsys.readouterr().err
    assert main(["evaluate", "run", "--data", "new"]) == 0
