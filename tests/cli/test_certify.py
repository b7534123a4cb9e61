import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchsid.cli.main import main

Output = pytest.CaptureFixture[str]
Tiny = Callable[..., list[str]]


@pytest.fixture(scope="module")
def noisy(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by the theory's own direction, with label noise and an α of each stage's own."""
    run = tmp_path_factory.mktemp("certify") / "noisy"
    settings = ("data.noise.kind=symmetric", "data.noise.rate=0.4", "learner.direction=reverse", "learner.label_smoothing=0.1")
    words = [word for setting in (*settings, "learner.alpha=[0.8, 0.3]") for word in ("--set", setting)]
    assert main(tiny("digits", "--out", run, "--quiet", *words)) == 0
    return run


def certified(*words: str | Path) -> dict[str, Any]:
    assert main(["certify", *map(str, words), "--json", "out.json"]) == 0
    content: dict[str, Any] = json.loads(Path("out.json").read_text())
    return content


@pytest.mark.parametrize("weights", ["best", "last"])
def test_every_split_has_a_certificate_that_agrees_with_the_evaluation(runs: Path, weights: str, capsys: Output) -> None:
    found = certified(runs / "digits", "--weights", weights)
    assert [(part["split"], part["labels"]) for part in found["certificates"]] == [
        ("train", "given"),
        ("validation", "given"),
        ("test", "given"),
    ]
    recorded = json.loads((runs / "digits" / "evaluation.json").read_text())[weights]
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


def test_under_noise_the_clean_labels_have_certificates_of_their_own(noisy: Path, capsys: Output) -> None:
    found = certified(noisy)
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


def test_stages_trained_end_to_end_are_measured_and_named_as_such(runs: Path, capsys: Output) -> None:
    assert main(["certify", str(runs / "digits-bp"), "--split", "test"]) == 0
    assert "trained end to end" in capsys.readouterr().out


def trained(recipe: str, *settings: str) -> int:
    """Train a recipe whose network has other settings than a shared cascade."""
    words = [word for setting in ("data.limit=200", "training.epochs=1", *settings) for word in ("--set", setting)]
    return main(["train", recipe, "--out", "run", "--quiet", *words])


def test_a_staged_network(capsys: Output) -> None:
    assert trained("digits-staged", "model.depth=2") == 0
    assert main(["certify", "run", "--split", "test"]) == 0
    assert capsys.readouterr().out.count("\nstage ") == 2


def test_a_network_without_stages_is_refused(capsys: Output) -> None:
    assert trained("digits-bp-plain") == 0
    assert main(["certify", "run"]) == 2
    assert "nothing to certify" in capsys.readouterr().err


def test_a_split_without_samples_is_refused(tiny: Tiny, capsys: Output) -> None:
    assert main(tiny("digits", "--out", "run", "--quiet", "--set", "data.validation=0.0")) == 0
    assert main(["certify", "run", "--split", "validation"]) == 2
    assert "no validation samples" in capsys.readouterr().err
    assert main(["certify", "run"]) == 0
    assert "validation" not in capsys.readouterr().out


def test_other_samples_are_pointed_out(runs: Path, tmp_path: Path, capsys: Output) -> None:
    shutil.copytree(runs / "digits", tmp_path / "run")
    manifest = tmp_path / "run" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["data"]["fingerprint"]["arrays/train"] = "0" * 64
    manifest.write_text(json.dumps(content))
    assert main(["certify", str(tmp_path / "run"), "--split", "train", "test"]) == 0
    assert capsys.readouterr().err.count("SHA-256 differs") == 1


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


def test_a_page_that_cannot_be_written_fails_only_if_it_was_asked_for(runs: Path, tmp_path: Path, capsys: Output) -> None:
    shutil.copytree(runs / "digits", tmp_path / "run")
    (tmp_path / "run" / "certificate.html").unlink(missing_ok=True)
    (tmp_path / "run" / "certificate.html").mkdir()
    assert main(["certify", "run", "--split", "test"]) == 0
    assert "no page: run/certificate.html is a directory" in capsys.readouterr().err
    assert main(["certify", "run", "--split", "test", "--page", "run"]) == 2
