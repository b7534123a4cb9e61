"""Columns of files become inputs, one of them the outcome; what cannot be used is named with its file, row and column."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_diabetes, load_wine
from torch import Tensor

from torchsid.errors import DataError
from torchsid.tasks.domain import Splits
from torchsid.tasks.numbers import Numbers
from torchsid.tasks.tabular import Tabular

COLOURS = ["red", "green", None, "blue"]
ROWS = [
    {"age": None if i % 7 == 3 else 20.5 + i, "colour": COLOURS[i % 4], "same": 1, "price": 100.0 + 3 * i, "kind": f"k{i % 3}"}
    for i in range(40)
]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a file of the kind that its ending names."""
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        separator = "\t" if file.suffix == ".tsv" else ","
        lines = [separator.join("" if cell is None else str(cell) for cell in row.values()) for row in rows]
        file.write_text("\n".join([separator.join(rows[0]), *lines]) + "\n", "utf-8")
    return file


def prepared(task: Tabular, splits: Splits, part: str = "train") -> Tensor:
    return task.prepare(getattr(splits, part).inputs[:], splits.about)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv", "tsv"])
def test_every_kind_of_file_says_the_same(tmp_path: Path, kind: str) -> None:
    task = Tabular(path=str(write(tmp_path / f"all.{kind}", ROWS)), target="price", ignore=["kind"])
    splits = task.load(0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (29, 3, 8)
    assert [column["name"] for column in splits.about["columns"]] == ["age", "colour"]
    assert splits.skipped == (
        "column 'same' is left out: all training rows have the same, or nothing",
        *splits.skipped[1:],
    )
    for part in (splits.train, splits.validation, splits.test):
        assert part.rows is not None
        assert part.value is not None
        for row, inputs, value in zip(part.rows.tolist(), part.inputs[:], part.value.tolist(), strict=True):
            age, colour = ROWS[row]["age"], ROWS[row]["colour"]
            shown = f"<code>age {'missing' if age is None else f'{age:g}'}, colour {colour or 'unknown'}</code>"
            assert task.show(inputs, splits.about) == shown
            assert value == ROWS[row]["price"]


def test_what_is_fitted_is_fitted_on_the_training_part_alone(tmp_path: Path) -> None:
    rows = [{"x": float(i), "name": f"n{i % 3}", "target": 2.5 * i} for i in range(50)]
    held_out = [{"x": 1e6, "name": "new", "target": 1e6}, {"x": None, "name": "n1", "target": -1e6}]
    write(tmp_path / "train.csv", rows)
    write(tmp_path / "test.csv", held_out)
    task = Tabular(path=str(tmp_path))
    splits = task.load(0)
    x, test = prepared(task, splits), prepared(task, splits, "test")
    assert x.shape == (45, 1 + 4)
    torch.testing.assert_close(x[:, 0].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(x[:, 0].std(correction=0), torch.tensor(1.0))
    assert test[:, 1:].tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]  # a name that is new; a known one
    ages = splits.train.inputs[:, 0]
    stand_in = (float(np.median(ages.numpy())) - ages.mean()) / ages.std(correction=0)
    assert test[1, 0].item() == pytest.approx(stand_in.item(), abs=1e-5)
    numbers, values = Numbers.of(splits.about), splits.train.value
    assert numbers is not None
    assert values is not None
    margin = 0.1 * (values.max() - values.min()).item()
    assert (numbers.bins.low, numbers.bins.high) == pytest.approx((values.min().item() - margin, values.max().item() + margin))
    assert any("test: 2 of 2 targets lie outside the bins" in note for note in splits.skipped)
    assert splits.test.value is not None
    assert splits.test.value.tolist() == [1e6, -1e6]  # errors are measured to the numbers themselves
    with pytest.raises(DataError, match=r"2 of 2 targets lie outside .* raise data\.bins\.margin, or set data\.bins\.outside"):
        Tabular(path=str(tmp_path), bins=type(task.bins)(outside="error")).load(0)


def test_where_a_number_is_missing_an_input_says_so(tmp_path: Path) -> None:
    task = Tabular(path=str(write(tmp_path / "all.csv", ROWS)), target="price", ignore=["kind", "colour"])
    splits = task.load(0)
    gaps = splits.train.inputs[:].isnan().flatten()
    x = prepared(task, splits)
    assert bool(gaps.any())
    assert torch.equal(x[:, 1], gaps.float())
    assert len(x[gaps, 0].unique()) == 1


@pytest.mark.parametrize(
    ("target", "outcome", "names"),
    [
        ("kind", "auto", ["k0", "k1", "k2"]),
        ("few", "auto", ["2", "9", "10"]),
        ("few", "number", None),
        ("many", "auto", None),
        ("price", "auto", None),
    ],
)
def test_the_target_says_whether_a_class_or_a_number_is_foreseen(tmp_path: Path, target: str, outcome: Any, names: Any) -> None:
    rows = [{**row, "few": (2, 9, 10)[i % 3], "many": i} for i, row in enumerate(ROWS)]
    splits = Tabular(path=str(write(tmp_path / "all.parquet", rows)), target=target, outcome=outcome).load(0)
    if names:
        assert (splits.about["num_classes"], splits.about["class_names"]) == (3, names)
        assert splits.train.target.dtype == torch.int64
        assert splits.train.value is None
    else:
        assert splits.train.target.shape == (len(splits.train), 50)
        assert splits.about["bins"]["count"] == len(set(splits.about["class_names"])) == 50


def test_numbers_may_be_names_and_other_texts_may_stand_for_nothing(tmp_path: Path) -> None:
    rows = [{"code": 10115 + i % 2, "x": "-" if i == 5 else i, "target": f"{i % 2}"} for i in range(30)]
    task = Tabular(path=str(write(tmp_path / "all.csv", rows)), categorical=["code"], missing=["-"])
    splits = task.load(0)
    assert [column["names"] for column in splits.about["columns"]] == [["10115", "10116"], ()]
    assert sum(int(part.inputs[:].isnan().sum()) for part in (splits.train, splits.validation, splits.test)) == 1


def test_rare_names_are_unknown_and_that_is_said(tmp_path: Path) -> None:
    rows = [{"name": f"n{i if i < 90 else 0}", "target": float(i)} for i in range(200)]
    splits = Tabular(path=str(write(tmp_path / "all.csv", rows)), fold=0, validation=0.0).load(0)
    assert len(splits.about["columns"][0]["names"]) == 64
    assert "column 'name' has 73 names: the 64 most frequent are told apart, others are unknown" in splits.skipped


@pytest.mark.parametrize("seed", [0, 7])
def test_folds_share_out_the_rows(seed: int) -> None:
    parts = [Tabular(name="diabetes", fold=fold).load(seed).test.rows for fold in range(5)]
    assert torch.equal(torch.cat([part for part in parts if part is not None]).sort().values, torch.arange(442))
    by_seed = Tabular(name="diabetes", fold="seed").load(seed).test.rows
    assert torch.equal(*(part for part in (by_seed, parts[seed % 5]) if part is not None))


def test_tables_of_scikit_learn_are_what_it_has() -> None:
    splits, own = Tabular(name="diabetes").load(0), load_diabetes(scaled=False)
    assert splits.train.rows is not None
    assert splits.train.value is not None
    np.testing.assert_allclose(splits.train.inputs[:].numpy(), own.data[splits.train.rows.numpy()])
    np.testing.assert_allclose(splits.train.value.numpy(), own.target[splits.train.rows.numpy()])
    wine = Tabular(name="wine").load(0)
    assert wine.about["class_names"] == load_wine().target_names.tolist()
    assert wine.about["target"] == "cultivar"


def test_another_table_is_read_as_the_first_one_was(tmp_path: Path) -> None:
    first = Tabular(path=str(write(tmp_path / "a.csv", ROWS)), target="price")
    about = first.load(0).about
    others = [{**row, "colour": "mauve", "price": 5.0, "more": 1} for row in ROWS]
    second = Tabular(path=str(write(tmp_path / "b.csv", others)), target="kind").like(about)
    splits = second.load(0)
    assert splits.about["columns"] == about["columns"]
    assert splits.about["bins"] == about["bins"]
    assert splits.test.value is not None
    assert splits.test.value.tolist() == [5.0] * 8
    assert "mauve" not in second.show(splits.test.inputs[0], about)
    write(tmp_path / "c.csv", [{"age": 1, "price": 2} for _ in range(20)])
    with pytest.raises(DataError, match=r"c\.csv has no column 'colour'; it has age, price"):
        Tabular(path=str(tmp_path / "c.csv")).like(about).load(0)


BAD: list[tuple[str, str, dict[str, Any], list[str]]] = [
    ("x,target\n1,2.5\noops,3.5\n3,4.5\n4,6", "csv", {}, ["all.csv, row 1: 'oops' in column 'x', where numbers are expected"]),
    (
        "x,target\n1,2.5\n2,\n3,inf\n4,6.5",
        "csv",
        {},
        ["row 1: its target 'target' is missing", "row 2: its target 'inf' is no finite"],
    ),
    ("x,target\n1,3.5\n2,3.5\n3,3.5\n4,3.5\n5,3.5", "csv", {}, ["the target is 3.5 in all", "nothing to learn"]),
    ("x,target\n1,a\n2,b\n3,a", "csv", {"outcome": "number"}, ["holds texts, such as 'a' in all.csv, row 0", "outcome = 'class'"]),
    ("x,target\n1,a\n2,a\n3,a", "csv", {}, ["has 1 classes in the training part"]),
    ("x,y\n1,2.5\n2,3.5", "csv", {}, ["all.csv has no column 'target': set data.target to one of x, y"]),
    ("x,y\n1,2.5\n2,3.5", "csv", {"target": "z"}, ["all.csv has no column 'z'; it has x, y"]),
    ("x,y\n1,2.5\n2,3.5", "csv", {"target": "y", "categorical": ["z"]}, ["no column 'z'"]),
    ("x,x,target\n1,2,3.5\n2,3,4.5", "csv", {}, ["several columns called x: rename"]),
    ("x,target\n1,2.5\n1,3.5\n1,4.5\n1,5\n1,6", "csv", {}, ["no column is left to learn from", "column 'x' is left out"]),
    ("", "csv", {}, ["cannot be read as CSV"]),
    ("x,target\n", "csv", {}, ["no rows to learn from"]),
    ('{"x": 1, "target": [1, 2]}\n', "jsonl", {"target": "x"}, ["column 'target' is of type list", "data.ignore"]),
    ('{"x": 1, "target": ', "jsonl", {}, ["cannot be read as JSON Lines"]),
    ("nothing of the kind", "parquet", {}, ["missing, truncated or no Parquet"]),
]


@pytest.mark.parametrize(("text", "kind", "settings", "words"), BAD)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, kind: str, settings: dict[str, Any], words: list[str]) -> None:
    (tmp_path / f"all.{kind}").write_text(text)
    with pytest.raises(DataError) as error:
        Tabular(path=str(tmp_path / f"all.{kind}"), validation=0.0, **settings).load(0)
    assert [word for word in words if word not in str(error.value)] == []


def test_bad_rows_may_be_left_out_and_are_named(tmp_path: Path) -> None:
    rows = [{"x": "oops" if i == 3 else i, "target": "" if i == 5 else f"c{i % 2}"} for i in range(30)]
    write(tmp_path / "train.csv", rows)
    write(tmp_path / "test.csv", [{"x": 1, "target": "c9"}, {"x": 2, "target": "c1"}])
    splits = Tabular(path=str(tmp_path), on_bad_sample="skip").load(0)
    assert (len(splits.train) + len(splits.validation), len(splits.test)) == (28, 1)
    assert splits.skipped == (
        "train.csv, row 3: 'oops' in column 'x', where numbers are expected",
        "train.csv, row 5: its target 'target' is missing",
        "test.csv, row 0: its target 'c9' is not among the training part's 2",
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "diabtes"}, "did you mean 'diabetes'"),
        ({"name": "california-housing"}, "unknown table 'california-housing'"),
        ({}, "set data.path, or data.name"),
        ({"path": "/no/such/file.csv"}, "no file, nor a folder"),
    ],
)
def test_tables_that_are_not_there(settings: dict[str, str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Tabular(**settings).load(0)  # type: ignore[arg-type]


def test_shards_have_the_same_columns(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00003.csv", ROWS[:20])
    write(tmp_path / "train-00001-of-00003.csv", ROWS[20:])
    task = Tabular(path=str(tmp_path), target="price")
    splits = task.load(0)
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 40
    assert "train-00002-of-00003: this file was not found" in splits.skipped
    write(tmp_path / "train-00001-of-00003.csv", [{"age": 1, "price": 3.5}])
    with pytest.raises(DataError, match="have not the same columns: colour, kind, same is in one alone"):
        task.load(0)


def test_rows_to_answer_are_read_from_files_and_from_json(tmp_path: Path) -> None:
    task = Tabular(path=str(write(tmp_path / "all.csv", ROWS)), target="price", ignore=["kind"])
    about = task.load(0).about
    rows = task.read(str(tmp_path / "all.csv"), about)
    assert rows.shape == (40, 2)
    one = task.read('{"age": 20.5, "colour": "red", "whatever": null}', about)
    torch.testing.assert_close(one, rows[:1])
    gone = task.read('{"age": null, "colour": "mauve"}', about)
    assert [math.isnan(value) for value in gone[0].tolist()] == [True, True]
    for text, words in [
        ('{"age": 3}', "the row has no column 'colour'; it has age"),
        ('{"age": [3], "colour": "red"}', "column 'age' is a list"),
        ('{"age": "old", "colour": "red"}', "'old' in column 'age', where numbers are expected"),
        ("{age: 3}", "is no JSON object"),
        (str(tmp_path / "none.csv"), "cannot be read as CSV"),
        (str(tmp_path), "is none of .parquet"),
    ]:
        with pytest.raises(DataError) as error:
            task.read(text, about)
        assert words in str(error.value)
