import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.show.parsed import parsed

from torchsid.cli.main import main
from torchsid.training import load_network

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., list[str]]) -> Path:
    """A run that was trained on labels of which a third are wrong."""
    directory = tmp_path_factory.mktemp("noisy") / "run"
    noise = ["--set", "data.noise.kind=symmetric", "--set", "data.noise.rate=0.3"]
    assert main([*tiny("digits", "--out", directory, "--quiet"), *noise, "--set", "training.epochs=6"]) == 0
    return directory


def test_wrong_labels_come_first(noisy: Path, capsys: Output) -> None:
    assert main(["audit", str(noisy), "--top", "5", "--json", "out.json"]) == 0
    shown = capsys.readouterr().out
    found = json.loads(Path("out.json").read_text())
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


def test_the_page_shows_the_images(noisy: Path, runs: Path, capsys: Output) -> None:
    assert main(["audit", str(noisy), "--top", "3", "--page", "page.html", "--json", "out.json"]) == 0
    page, ranked = parsed(Path("page.html").read_text()), json.loads(Path("out.json").read_text())["ranked"]
    assert "page: file://" in capsys.readouterr().out
    assert [tag for tag, _ in page.tags].count("img") == 3
    rivers = [page.words.index(f"row {row}") for row in ranked["row"][:3]]
    assert rivers == sorted(rivers)
    assert "true: " in page.words
    assert f"torchsid audit {noisy} --top 3 --page page.html" in page.words
    assert main(["audit", str(runs / "digits-bp"), "--top", "2", "--page", "page.html"]) == 0
    page = parsed(Path("page.html").read_text())
    assert "the last stage alone" in page.words
    assert "true: " not in page.words


def test_without_noise_nobody_knows_what_is_true(runs: Path, capsys: Output) -> None:
    assert main(["audit", str(runs / "digits"), "--json", "out.json"]) == 0
    found = json.loads(Path("out.json").read_text())
    assert set(found["labels"]) == {"disputed"}
    assert "true" not in found["ranked"]
    assert "rankings" not in found
    shown = capsys.readouterr().out
    assert "true" not in shown.splitlines()[0]
    assert len(shown.split("\n\n")[0].splitlines()) == 21


def test_noise_that_changed_nothing_leaves_nothing_to_find(tmp_path: Path, tiny: Callable[..., list[str]]) -> None:
    noise = ["--set", "data.noise.kind=pair", "--set", "data.noise.rate=0"]
    assert main([*tiny("digits-bp", "--out", tmp_path / "run", "--quiet"), *noise]) == 0
    assert main(["audit", str(tmp_path / "run"), "--json", "out.json"]) == 0
    found = json.loads(Path("out.json").read_text())
    assert found["labels"]["wrong"] == 0
    assert found["labels"]["recall"] is None
    assert "rankings" not in found


def test_other_images_than_those_trained_on_are_pointed_out(noisy: Path, tmp_path: Path, capsys: Output) -> None:
    manifest = noisy / "manifest.json"
    text = manifest.read_text()
    content = json.loads(text)
    content["data"]["fingerprint"]["arrays/train"] = "0" * 64
    manifest.write_text(json.dumps(content))
    try:
        assert main(["audit", str(noisy)]) == 0
    finally:
        manifest.write_text(text)
    assert "train samples" in capsys.readouterr().err


def test_stages_that_were_not_trained_to_answer_are_not_asked(runs: Path, capsys: Output) -> None:
    assert main(["audit", str(runs / "digits-bp"), "--json", "out.json"]) == 0
    assert "the last stage alone" in capsys.readouterr().out
    ranked = json.loads(Path("out.json").read_text())["ranked"]
    assert set(ranked["agrees_from"]) <= {1, 2}
    assert main(["audit", str(runs / "digits")]) == 0
    assert "the last stage alone" not in capsys.readouterr().out


def test_no_run_is_an_error(capsys: Output) -> None:
    assert main(["audit", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
