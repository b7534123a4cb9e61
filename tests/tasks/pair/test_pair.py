"""Pairs as they are stored, read, shown and lost; and what cannot be used."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from torchsid.errors import ConfigError, DataError
from torchsid.tasks.domain import generator_at
from torchsid.tasks.pair import Pair
from torchsid.tasks.pair.questions import WORDS
from torchsid.training import resolve

ROWS = [(f"img/{i}.png", f"A {'dark' if i % 2 else 'light'} square, no {i % 3}.", "yes" if i % 2 else "no") for i in range(40)]


def write(folder: Path, rows: list[tuple[str, str, str]], header: str = "path,text,label") -> Path:
    """Write images, of the grey that their number says, and the table."""
    (folder / "img").mkdir(exist_ok=True)
    for i in range(len(rows)):
        pixels = np.full((6, 6), 40 + 4 * i, np.uint8)
        pixels[0, 0] = 0
        Image.fromarray(pixels).save(folder / "img" / f"{i}.png")
    lines = (f'{path},"{text}",{label}' for path, text, label in rows)
    (folder / "pairs.csv").write_text("\n".join([header, *lines]) + "\n", "utf-8")
    return folder


def own(folder: Path, **settings: Any) -> Pair:
    return Pair(name="folder", path=str(folder), files="pairs.csv", **settings)


@pytest.mark.parametrize("question", ["synergy", "mixed"])
def test_a_seed_decides_training_and_validation_and_the_test_pairs_are_always_the_same(question: Any) -> None:
    task = Pair(question=question, validation=0.2)
    first, again, other = task.load(1), task.load(1), task.load(2)
    assert first.fingerprint == again.fingerprint
    assert first.about == again.about
    changed = {key for key in first.fingerprint if first.fingerprint[key] != other.fingerprint[key]}
    assert changed == {"arrays/train", "arrays/validation"}
    more = replace(task, sentences=3).load(1)
    assert len(more.train) == 3 * len(first.train)
    assert more.fingerprint["arrays/test"] == first.fingerprint["arrays/test"]
    assert torch.equal(more.train.rows[::3], first.train.rows)  # type: ignore[index]
    assert {*WORDS[: 10 if question == "synergy" else 9]} <= {*first.about["words"]}


def test_a_network_reads_normalised_pixels_and_counts_of_words(tmp_path: Path) -> None:
    task = own(write(tmp_path, ROWS), validation=0.2, length=6)
    splits = task.load(0)
    about, words = splits.about, splits.about["words"]
    assert about["num_classes"] == 2
    beyond = "texts have more than data.length = 6 words, and what is beyond is not read"
    assert [note.partition(" of ")[2].partition(" ")[2] for note in splits.skipped] == [beyond] * 3
    for part in (splits.train, splits.validation, splits.test):
        read = task.prepare(part.inputs[:], about)
        assert read.shape == (len(part), 36 + about["vocabulary"]) == (len(part), task.example(about).shape[1])
        assert part.names is not None
        for name, row, stored, target in zip(part.names, read, part.inputs[:], part.target.tolist(), strict=True):
            number = int(Path(name).stem)
            grey = torch.full((36,), 40.0 + 4 * number)
            grey[0] = 0
            torch.testing.assert_close(row[:36], (grey / 255 - about["mean"][0]) / about["std"][0])
            text = f"a {'dark' if number % 2 else 'light'} square , no {number % 3} .".split()
            counts = [text[:6].count(word) for word in words]
            assert row[36:].tolist() == [6 - sum(counts), *counts]
            assert about["class_names"][target] == ROWS[number][2]
            assert " ".join(text[:6]) in task.show(stored, about).replace("[UNK]", "0")
    (read,) = task.read(f"{tmp_path}/img/3.png | a dark square, no 0.", about)
    assert task.show(read, about).startswith("<img")
    assert task.show(read, about).endswith("<code>a dark square , no 0</code>")
    (image, text) = (task.read(each, about)[0] for each in (f"{tmp_path}/img/3.png |", "| DARK ice"))
    assert task.show(image, about).endswith("(no text)</code>")
    assert task.show(text, about) == "(no image)<br><code>dark [UNK]</code>"
    for wrong in ("3.png", "a dark square", " | "):
        with pytest.raises(DataError, match=r"'IMAGE \| TEXT'"):
            task.read(wrong, about)
    smaller = replace(task, vocabulary=3)
    assert smaller.load(0).about["words"] == ["a", "square"]
    assert smaller.like(about).load(0).about["words"] == words
    with pytest.raises(DataError, match="a run of the task pair"):
        task.like({"num_classes": 2})


@pytest.mark.parametrize("missing", ["image", "text"])
def test_what_is_missing_is_missing_at_test_alone(missing: Any) -> None:
    whole, task = Pair().load(0), Pair(missing=missing)
    splits = task.load(0)
    assert torch.equal(splits.train.inputs[:], whole.train.inputs[:])
    assert torch.equal(splits.validation.inputs[:], whole.validation.inputs[:])
    kept = slice(64, None) if missing == "image" else slice(0, 64)
    wanted = torch.zeros_like(whole.test.inputs[:])
    wanted[:, kept] = whole.test.inputs[:, kept]
    assert torch.equal(splits.test.inputs[:], wanted)
    assert f"(no {missing})" in task.show(splits.test.inputs[0], splits.about)


def test_training_pairs_lose_one_sense_and_never_both() -> None:
    task = Pair(drop=0.6, validation=0.2)
    splits = task.load(0)
    samples = splits.train.take(torch.arange(1000))
    draws = task.draw(1000, splits.about, generator_at("test", 0))
    read, target, weight = task.training_batch(samples, splits.about, draws)
    assert torch.equal(target, samples.target)
    assert weight is None
    black = task.prepare(torch.zeros_like(samples.inputs[:1]), splits.about)[0, :64]
    no_image, no_text = (read[:, :64] == black).all(1), read[:, 64:].sum(1) == 0
    assert not (no_image & no_text).any()
    assert no_image.float().mean().item() == pytest.approx(0.3, abs=0.05)
    assert no_text.float().mean().item() == pytest.approx(0.3, abs=0.05)
    assert torch.equal(read[~no_image & ~no_text], task.prepare(samples.inputs[:], splits.about)[~no_image & ~no_text])
    assert replace(task, drop=0.0).draw(3, splits.about, generator_at("test", 0)) == {}


@pytest.mark.parametrize(
    ("missing", "left", "name"), [("none", 7 / 9, "better"), ("text", 7 / 9, "other"), ("image", 6.5 / 9, "other")]
)
def test_the_floor_is_what_one_sense_alone_knows(missing: Any, left: float, name: str) -> None:
    task = Pair(question="mixed", missing=missing)
    floor = task.floor(task.load(0))
    assert floor is not None
    assert floor.name == f"{name} sense alone"
    assert floor.scores["validation"]["accuracy"] == pytest.approx(7 / 9)
    assert floor.scores["test"]["accuracy"] == pytest.approx(left)
    assert floor.about.endswith("77.8 % from the image alone, 72.2 % from the text alone")


def test_an_image_without_a_text_is_named_or_left_out(tmp_path: Path) -> None:
    rows = [(path, "" if i in (3, 17) else "..." if i == 5 else text, label) for i, (path, text, label) in enumerate(ROWS)]
    task = own(write(tmp_path, rows), on_bad_sample="error")
    with pytest.raises(
        DataError, match=r"2 images have no text; fill the column 'text', or set data\.on_bad_sample = 'skip'"
    ) as error:
        task.load(0)
    assert "img/17.png" in str(error.value)
    splits = replace(task, on_bad_sample="skip").load(0)
    assert sorted(splits.skipped) == ["img/17.png: it has no text", "img/3.png: it has no text"]  # "..." are marks
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 38
    assert own(tmp_path).floor(splits) is None


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([(path, "", label) for path, _, label in ROWS], "path,text,label", "what is always missing says nothing"),
        ([(path, f"word{i}", label) for i, (path, _, label) in enumerate(ROWS)], "path,text,label", "no word stands in the"),
        (ROWS, "path,txt,label", "has no column 'text'.*it has path, txt, label"),
        ([*ROWS[:-1], ("", "no partner", "yes")], "path,text,label", "line 41: no path"),
        ([*ROWS[:-1], ("img/99.png", "no partner", "yes")], "path,text,label", "img/99.png"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, rows: list[tuple[str, str, str]], header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        own(write(tmp_path, rows, header)).load(0)


def test_images_that_are_always_missing(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    for path in (tmp_path / "img").iterdir():
        Image.fromarray(np.zeros((6, 6), np.uint8)).save(path)
    with pytest.raises(DataError, match="all training images are the same"):
        own(tmp_path).load(0)


@pytest.mark.parametrize("settings", [["data.files=a.csv"], ["data.name=folder"], ["data.drop=1.0"], ["data.missing=both"]])
def test_settings_that_do_not_fit(settings: list[str]) -> None:
    with pytest.raises(ConfigError, match=settings[0].partition("=")[0].removeprefix("data.")):
        resolve("pair-synergy", settings)
