from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.show.parsed import parsed

from torchsid.training import load_network

Output = pytest.CaptureFixture[str]
Measured = Callable[..., dict[str, Any]]
Trained = Callable[..., Path]


@pytest.fixture
def noisy(trained: Trained) -> Path:
    """A run that was trained on labels of which a third are wrong."""
    return trained("digits", "data.noise.kind=symmetric", "data.noise.rate=0.3", "training.epochs=6")


def test_wrong_labels_come_first(noisy: Path, measured: Measured, capsys: Output) -> None:
    found = measured("audit", noisy, "--top", "5")
    shown = capsys.readouterr().out
    samples = load_network(noisy).task.load(0).train
    assert samples.rows is not None
    assert samples.clean_target is not None
    ranked = found["ranked"]
    assert sorted(ranked["image"]) == list(range(found["n"])) == list(range(len(samples)))
    assert ranked["row"] == samples.rows[ranked["image"]].tolist()
    assert ranked["score"] == sorted(ranked["score"])
    assert ranked["label"] == samples.target[ranked["image"]].tolist()
    assert ranked["true"] == samples.clean_target[ranked["image"]].tolist()
    wrong = int((samples.target != samples.clean_target).sum())
    assert found["labels"]["wrong"] == wrong
    hits = sum(label != true for label, true in zip(ranked["label"][:wrong], ranked["true"][:wrong], strict=True))
    assert found["rankings"]["margin over stages"]["precision_at_k"] == pytest.approx(hits / wrong)
    assert found["rankings"]["margin over stages"]["auroc"] > 0.7
    header, *rows = shown.splitlines()[:6]
    assert header.split() == ["training", "sample", "row", "label", "suggested", "score", "agrees", "from", "true"]
    assert [int(row.split()[0]) for row in rows] == ranked["image"][:5]
    assert [int(row.split()[1]) for row in rows] == ranked["row"][:5]
    assert f"precision at {wrong}" in shown


def test_the_page_shows_the_images(noisy: Path, measured: Measured, capsys: Output) -> None:
    ranked = measured("audit", noisy, "--top", "3", "--page", "page.html")["ranked"]
    page = parsed(Path("page.html").read_text())
    assert "page: file://" in capsys.readouterr().out
    assert [tag for tag, _ in page.tags].count("img") == 3
    rivers = [page.words.index(f"row {row}") for row in ranked["row"][:3]]
    assert rivers == sorted(rivers)
    assert "true: " in page.words
    assert f"torchsid audit {noisy} --top 3 --page page.html" in page.words


def test_stages_that_were_not_trained_to_answer_are_not_asked(runs: Path, measured: Measured, capsys: Output) -> None:
    ranked = measured("audit", runs / "digits-bp", "--top", "2", "--page", "page.html")["ranked"]
    assert set(ranked["agrees_from"]) <= {1, 2}
    page = parsed(Path("page.html").read_text())
    assert "the last stage alone" in page.words
    assert "the last stage alone" in capsys.readouterr().out


def test_without_noise_nobody_knows_what_is_true(runs: Path, measured: Measured, capsys: Output) -> None:
    found = measured("audit", runs / "digits", "--page", "page.html")
    assert set(found["labels"]) == {"disputed"}
    assert "true" not in found["ranked"]
    assert "rankings" not in found
    shown = capsys.readouterr().out
    assert "true" not in shown.splitlines()[0]
    assert "the last stage alone" not in shown
    assert len(shown.split("\n\n")[0].splitlines()) == 21
    assert "true: " not in parsed(Path("page.html").read_text()).words


def test_noise_that_changed_nothing_leaves_nothing_to_find(trained: Trained, measured: Measured) -> None:
    found = measured("audit", trained("digits-bp", "data.noise.kind=pair", "data.noise.rate=0"))
    assert found["labels"]["wrong"] == 0
    assert found["labels"]["recall"] is None
    assert "rankings" not in found
