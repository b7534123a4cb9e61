import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchsid.cli.main import main
from torchsid.errors import RunError
from torchsid.show.page import Page
from torchsid.study.certify import page

Output = pytest.CaptureFixture[str]
Measured = Callable[..., dict[str, Any]]
Trained = Callable[..., Path]


@pytest.fixture
def noisy(trained: Trained) -> Path:
    """A run by the theory's own direction, with label noise and an α of each stage's own."""
    noise = ("data.noise.kind=symmetric", "data.noise.rate=0.4")
    return trained("digits", *noise, "learner.direction=reverse", "learner.label_smoothing=0.1", "learner.alpha=[0.8, 0.3]")


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all the rest."""

    def refuse(*_: object) -> None:
        raise RunError("not now")

    monkeypatch.setattr(page, "certificate_page", refuse)


@pytest.mark.usefixtures("no_page")
def test_every_split_has_a_certificate_that_agrees_with_the_evaluation(runs: Path, measured: Measured, capsys: Output) -> None:
    found = measured("certify", runs / "digits", "--weights", "last")
    splits = [(part["split"], part["labels"]) for part in found["certificates"]]
    assert splits == [("train", "given"), ("validation", "given"), ("test", "given")]
    recorded = json.loads((runs / "digits" / "evaluation.json").read_text())["last"]
    for part in found["certificates"]:
        assert part["contradictions"] == 0
        assert [stage["alpha"] for stage in part["stages"]] == [0.5, 0.5]
        assert all(stage["slack"]["worst"] >= -1e-9 for stage in part["stages"])
        assert part["stages"][-1]["ideal_residual"] == 0.25
        if part["split"] != "train":  # one-hot targets: the divergence is what evaluation calls KL
            assert [stage["kl"]["mean"] for stage in part["stages"]] == pytest.approx(recorded[part["split"]]["kl"][1:], rel=1e-5)
        for stage in part["stages"]:
            failing = stage["failures"]["samples"]
            assert len(failing) == sum(stage["failures"]["by_class"]) == pytest.approx(part["n"] * (1 - stage["descent"]))
            assert stage["failures"]["rises"] == sorted(stage["failures"]["rises"], reverse=True)
    shown = capsys.readouterr().out
    assert "say nothing of this run" in shown
    assert "train, given labels, n = " in shown
    assert shown.count("\nstage 2, α = 0.5") == shown.count("\nevery stage") == 3


@pytest.mark.usefixtures("no_page")
def test_under_noise_the_clean_labels_have_certificates_of_their_own(noisy: Path, measured: Measured, capsys: Output) -> None:
    found = measured("certify", noisy)
    parts = {(part["split"], part["labels"]): part for part in found["certificates"]}
    assert list(parts) == [
        ("train", "given"),
        ("train", "clean"),
        ("validation", "given"),
        ("validation", "clean"),
        ("test", "given"),
    ]
    assert parts["train", "given"]["class_sizes"] != parts["train", "clean"]["class_sizes"]
    assert parts["train", "given"]["stages"][-1]["kl"] != parts["train", "clean"]["stages"][-1]["kl"]
    assert [stage["alpha"] for stage in parts["test", "given"]["stages"]] == [0.8, 0.3]
    assert [stage["ideal_residual"] for stage in parts["test", "given"]["stages"]] == pytest.approx([0.2, 0.14])
    assert found["objective"] == {"alpha": [0.8, 0.3], "direction": "reverse", "label_smoothing": 0.1, "temperature": 1.0}
    assert "apply as the paper states them" in capsys.readouterr().out


def test_splits_can_be_chosen(runs: Path, capsys: Output) -> None:
    assert main(["certify", str(runs / "digits"), "--split", "test", "train"]) == 0
    shown = capsys.readouterr().out
    assert "certificate.html" in shown
    assert "train, given labels" in (runs / "digits" / "certificate.html").read_text()
    assert shown.index("test, given labels") < shown.index("train, given labels")
    assert "validation" not in shown


@pytest.mark.usefixtures("no_page")
def test_stages_trained_end_to_end_are_measured_and_named_as_such(runs: Path, capsys: Output) -> None:
    assert main(["certify", str(runs / "digits-bp"), "--split", "test"]) == 0
    assert "trained end to end" in capsys.readouterr().out


@pytest.mark.usefixtures("no_page")
def test_a_staged_network(trained: Trained, capsys: Output) -> None:
    assert main(["certify", str(trained("digits-staged")), "--split", "test"]) == 0
    assert capsys.readouterr().out.count("\nstage ") == 2


def test_the_page_shows_what_became_of_wrong_labels(noisy: Path, capsys: Output) -> None:
    words = ["--split", "train", "--page", "page.html", "--figures", "svg", "--classes", "7", "0", "3"]
    assert main(["certify", str(noisy), *words]) == 0
    page = Path("page.html").read_text()
    assert 'id="noise"' in page
    assert "Beliefs in 7, 0, 3" in page
    assert "test, given labels" not in page
    assert Path("svg/noise-1.svg").is_file()
    assert f"page: {Path('page.html').resolve().as_uri()}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("classes", "problem"),
    [(("0", "1", "10"), "unknown class '10'"), (("0", "1", "0"), "three different classes"), (("0", "x", "x"), "2 problems")],
)
def test_classes_must_be_three_that_there_are(noisy: Path, capsys: Output, classes: tuple[str, ...], problem: str) -> None:
    assert main(["certify", str(noisy), "--classes", *classes]) == 2
    assert problem in capsys.readouterr().err


def test_a_page_that_cannot_be_written_fails_only_if_it_was_asked_for(
    runs: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "certificate_page", lambda *_: Page("nothing to see", "", []))
    shutil.copytree(runs / "digits", tmp_path / "run")
    (tmp_path / "run" / "certificate.html").unlink(missing_ok=True)
    (tmp_path / "run" / "certificate.html").mkdir()
    assert main(["certify", "run", "--split", "test"]) == 0
    assert "no page: run/certificate.html is a directory" in capsys.readouterr().err
    assert main(["certify", "run", "--split", "test", "--page", "run"]) == 2
