"""Texts of files become tokens, each of one class; what cannot be used is named with its file and row."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from torchsid.errors import DataError
from torchsid.tasks.text import Text

WORDS = ["who was it?", "where is it?", "how many are there?"]
TEXTS, LABELS = [f"{WORDS[i % 3]} {i}" for i in range(30)], [i % 3 for i in range(30)]
CLASSES = ["HUM", "LOC", "NUM"]


def write(file: Path, texts: list[Any], labels: list[Any], columns: tuple[str, str] = ("text", "label")) -> None:
    """Write a file of the kind that its ending names; Parquet with the class names, as the hub has them."""
    if file.suffix == ".parquet":
        features = {"info": {"features": {columns[1]: {"names": CLASSES, "_type": "ClassLabel"}}}}
        table = pa.table(dict(zip(columns, (texts, labels), strict=True)))
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), file)
    elif file.suffix == ".jsonl":
        rows = (dict(zip(columns, row, strict=True)) for row in zip(texts, labels, strict=True))
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        separator = "\t" if file.suffix == ".tsv" else ","
        rows = (f'"{text}"{separator}{label}' for text, label in zip(texts, labels, strict=True))
        file.write_text("\n".join([separator.join(columns), *rows]) + "\n", "utf-8")


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv", "tsv"])
def test_every_kind_of_file_says_the_same(tmp_path: Path, kind: str) -> None:
    labels = LABELS if kind == "parquet" else [CLASSES[label] for label in LABELS]
    write(tmp_path / f"own-train.{kind}", TEXTS, labels)
    write(tmp_path / f"own-test.{kind}", ["who\nwas it, und wo? 世界"], labels[:1])
    task = Text(path=str(tmp_path), name="own", length=24, tokens="bytes")
    splits = task.load(0)
    assert splits.about["class_names"] == CLASSES
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (27, 3, 1)
    for part in (splits.train, splits.validation):
        assert part.rows is not None
        for row, inputs, target in zip(part.rows.tolist(), part.inputs[:], part.target[:].tolist(), strict=True):
            assert task.show(inputs, splits.about) == f"<code>{TEXTS[row]}</code>"
            assert target == LABELS[row]
            assert inputs[len(TEXTS[row]) :].tolist() == [0] * (24 - len(TEXTS[row]))
    assert splits.skipped == ("test: of 1 of 1 texts what is beyond data.length = 24 tokens is cut off",)
    with pytest.warns(UserWarning, match="longer than data.length = 24 tokens"):
        assert task.read("a" * 30, splits.about).shape == (1, 24)


def test_one_file_is_divided_and_pieces_of_words_are_those_of_training(tmp_path: Path) -> None:
    write(tmp_path / "all.csv", TEXTS, LABELS, ("sentence", "kind"))
    task = Text(path=str(tmp_path / "all.csv"), label="kind")
    splits = task.load(0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (22, 2, 6)
    assert splits.about["class_names"] == ["0", "1", "2"]
    assert int(splits.train.inputs[:].max()) <= splits.about["vocabulary"] < 4096
    assert splits.test.rows is not None
    for row, inputs in zip(splits.test.rows.tolist(), splits.test.inputs[:], strict=True):
        assert torch.equal(task.read(TEXTS[row], splits.about)[0], inputs)
    again = task.load(1)
    assert torch.equal(again.test.inputs[:], splits.test.inputs[:])
    assert again.about == splits.about
    assert not torch.equal(again.validation.inputs[:], splits.validation.inputs[:])


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("tokens", ["words", "bpe"])
def test_a_word_is_the_same_at_the_start_and_in_small_letters(tmp_path: Path, tokens: Any, lowercase: bool) -> None:
    write(tmp_path / "all.csv", [f"{'Who' if i % 2 else 'and who'} was it {i}" for i in range(30)], LABELS)
    task = Text(path=str(tmp_path / "all.csv"), tokens=tokens, lowercase=lowercase)
    about = task.load(0).about
    first, second = (task.read(text, about)[0] for text in ("who", "and who"))
    assert first[0] == second[1]
    assert torch.equal(task.read("WHO Was it", about), task.read("who was it", about)) == lowercase
    shown = "and who [UNK]" if tokens == "words" else "and who zebra"
    assert task.show(task.read("and who zebra", about)[0], about) == f"<code>{shown}</code>"


@pytest.mark.parametrize(
    ("kind", "text", "label", "problem"),
    [
        ("csv", " ", "LOC", "its text is empty"),
        ("jsonl", None, "LOC", "its text is empty"),
        ("jsonl", "who?", None, "it has no label"),
        ("jsonl", "who?", "", "it has no label"),
        ("parquet", "who?", 3, "its label 3 is none of 0 to 2"),
        ("parquet", "who?", -1, "its label -1 is none of 0 to 2"),
        ("csv", "who?", "ABBR", "its label 'ABBR' is not among the training part's 3"),
    ],
)
def test_bad_rows_are_named_and_may_be_left_out(tmp_path: Path, kind: str, text: Any, label: Any, problem: str) -> None:
    labels = LABELS if kind == "parquet" else [CLASSES[label] for label in LABELS]
    write(tmp_path / f"train.{kind}", TEXTS, labels)
    write(tmp_path / f"dev.{kind}", [TEXTS[0], text], [labels[0], label])
    task = Text(path=str(tmp_path))
    with pytest.raises(DataError, match=f"1 row cannot be used.*\n.*dev.{kind}, row 1: {problem}$"):
        task.load(0)
    splits = replace(task, on_bad_sample="skip").load(0)
    assert splits.skipped == (f"dev.{kind}, row 1: {problem}",)
    assert len(splits.validation) == 1


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_text_that_is_no_utf8_is_a_bad_row(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"train.{kind}"
    write(file, [*TEXTS, "caf##"], [*LABELS, 0])
    file.write_bytes(file.read_bytes().replace(b"caf##", b"caf\xe9#"))
    with pytest.raises(DataError, match=rf"train.{kind}, row 30: it is no UTF-8 \(byte 0xe9\)"):
        Text(path=str(tmp_path)).load(0)


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (
            "text,label\nwho,a\nwhere,b",
            {"text": "question"},
            "no column question; it has .*: set data.text and data.label",
        ),
        ("text,label\nwho,a\nwhere,a", {}, "classes of the training part of .*: 1;"),
        ("text,label\nwho,0.5\nwhere,1.5", {}, "2 rows cannot be used.*\n.*row 0: its label is of type float"),
        ("text,läbel\nwho,1", {}, "train.csv cannot be read as CSV"),
        ("text,label\nwho", {}, "train.csv cannot be read as CSV"),
        (None, {}, "is no file, nor a folder with train"),
        (None, {"path": ""}, "set data.path"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: str | None, settings: dict[str, Any], message: str) -> None:
    if content is not None:
        (tmp_path / "train.csv").write_text(content, "latin-1")
    with pytest.raises(DataError, match=message):
        Text(**{"path": str(tmp_path), **settings}).load(0)
