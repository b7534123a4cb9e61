import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow.parquet import read_table
from tests.show.parsed import parsed

from torchsid import training
from torchsid.cli.main import main
from torchsid.study import folds
from torchsid.training import load_network
from torchsid.training.loop import train

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


def test_layers_that_answer_are_judges_certified_and_left_early(tmp_path: Path, capsys: Output) -> None:
    run = str(train(training.resolve("digits-mono-forward", ["training.epochs=1", "data.limit=200"]), tmp_path / "run"))
    for command in (["audit", run, "--top", "2"], ["certify", run], ["evaluate", run, "--exit-when", "entropy<2.3"]):
        assert main(command) == 0
    shown = capsys.readouterr().out
    assert "all 2 stages" in shown
    assert re.search(r"stage 1\.\d+ of 2 +\d+\.\d+ %", shown)


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


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a folder of photos of two kinds, one of which lies in the wrong one, and odd names."""
    root = tmp_path_factory.mktemp("photos") / "my album"
    generator = np.random.default_rng(0)
    for k in range(40):
        kind = "dark" if k % 2 else "light"
        name = {0: "wrong <b>.png", 2: "\u732b,\n.png", 4: "=1+1.png"}.get(k, f"{k}.png")
        path = root / ("dark" if k == 0 else kind) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 90, (8, 8, 3), dtype=np.uint8) + (0 if k % 2 else 160)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    shutil.copy(root / "dark" / "1.png", root / "light" / "copy.png")
    settings = ["data.name=folder", f"data.path={json.dumps(str(root))}", f"data.cache={json.dumps(str(root.parent / 'cache'))}"]
    settings += ["model.depth=2", "model.hidden=16", "training.epochs=12", "training.batch_size=8", "training.patience=3"]
    words = [word for setting in settings for word in ("--set", setting)]
    assert main(["train", "digits", *words, "--out", str(root.parent / "run"), "--quiet"]) == 0
    return root.parent / "run"


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_photo_is_judged_by_a_network_that_did_not_see_it(
    photos: Path, measured: Measured, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def stopped(*arguments: Any, **settings: Any) -> Path:
        calls.append(arguments[1])
        if len(calls) == 2:
            raise training.Interrupted(arguments[1], 2)
        return train(*arguments, **settings)

    monkeypatch.setattr(folds, "train", stopped)
    assert main(["audit", str(photos), "--folds", "3"]) == 130
    assert f"Go on with:\n  torchsid audit {photos} --folds 3" in capsys.readouterr().err
    found = measured("audit", photos, "--folds", "3", "--table", "all.csv", "--page", "page.html")
    assert "2 of 3 trainings to do" in capsys.readouterr().out
    assert [path.name for path in calls] == ["fold-1", "fold-2", "fold-2", "fold-3"]
    table = rows_of("all.csv")
    names = json.loads((photos / "names.json").read_text())
    assert sorted(row["name"] for row in table) == sorted(name for part in names.values() for name in part["names"])
    assert len(table) == found["n"] == 41
    assert {row["out of sample"] for row in table} == {"yes"}
    assert {row["split"] for row in table} == {"train", "validation", "test"}
    assert {row["name"] for row in table[:2]} == {"dark/wrong <b>.png", "light/copy.png"}
    judges = [json.loads((path / "names.json").read_text()) for path in sorted((photos / "audit-3-folds").iterdir())]
    for judge in judges:
        own, seen = set(judge["test"]["names"]), set(judge["train"]["names"])
        assert not own & seen
        assert len(own | seen) == 41
        assert len({"dark/1.png", "light/copy.png"} & own) != 1  # copies are on the same side
    page = parsed(Path("page.html").read_text())
    assert "dark/wrong <b>.png" in page.words
    assert "my album: labels to look at" in page.words
    assert "none: all verdicts are out of sample" in page.words
    assert main(["compare", str(photos.parent)]) == 0  # the networks of the folds are no runs of their own
    assert "fold" not in capsys.readouterr().out


def test_who_saw_a_sample_is_said_split_by_split(photos: Path, capsys: Output) -> None:
    assert main(["audit", str(photos), "--split", "train", "test", "--table", "two.csv"]) == 0
    assert main(["audit", str(photos), "--split", "train", "test", "--table", "two.parquet"]) == 0
    assert len(read_table("two.parquet")) == len(rows_of("two.csv"))
    assert {(row["split"], row["out of sample"]) for row in rows_of("two.csv")} == {("train", "no"), ("test", "yes")}
    shown = capsys.readouterr().out
    assert "trained on with these very labels" in shown


@pytest.mark.parametrize(
    ("words", "said"), [(["--folds", "1"], "2 to 40"), (["--folds", "2", "--split", "test"], "leave --split out")]
)
def test_folds_that_cannot_be_made_are_refused(photos: Path, words: list[str], said: str, capsys: Output) -> None:
    assert main(["audit", str(photos), *words]) == 2
    assert said in capsys.readouterr().err
