"""Texts, each of one class."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from torchsid.core.masks import PADDING
from torchsid.durable import file_sha256
from torchsid.errors import DataError, printable
from torchsid.settings import Count, Share, path_of
from torchsid.tasks.domain import PARTS, About, Samples, Splits, Task
from torchsid.tasks.splitting import Labels, every_fifth, hold_out
from torchsid.tasks.tables import KINDS, files_of, in_order, left_out
from torchsid.tasks.text.table import Row, read, read_texts
from torchsid.tasks.vocabulary import Bytes, FromFile, Pieces, Vocabulary, kind_of, remembered, taken_over


@dataclass(frozen=True, kw_only=True)
class Text(Task):
    """Texts as tokens `[N, T]`, int32, padded with 0, which is ignored; each of one class.

    Files are Parquet, CSV, TSV or JSON Lines; a label is the number or the name of a class. Of a folder, `train`, `validation` and
    `test` are the parts, `NAME-train.parquet` and shards of them as well; without a test part, every fifth text of a class is kept
    for testing.
    """

    path: str = ""
    """A file, or the folder of the parts."""
    name: str = ""
    """Prefix of the files' names in a folder with several data sets."""
    text: str = ""
    """Column of the texts; empty takes `text`, else `sentence`."""
    label: str = ""
    """Column of the labels; empty takes `coarse_label`, else `label`."""
    tokens: str = "words"
    """What a text is cut into: `words` that the training part has twice or more, all others being one token; pieces of words that
    byte-pair encoding finds there (`bpe`); its `bytes`; or the pieces of a `tokenizer.json`, by its path, with the tokens that it
    sets around a text."""
    vocabulary: Annotated[int, Ge(257)] = 8192
    """The most words, or pieces of `bpe`."""
    lowercase: bool = True
    """Whether words and pieces ignore case."""
    length: Count = 64
    """T, the tokens of a text that are read; longer texts are cut off, and counted."""
    validation: Share = 0.1
    """Share of the training part that is held out, the same in every class, if the data have no validation part."""
    on_bad_sample: Literal["error", "skip"] = "error"
    """A text that is empty or not UTF-8, or has no label or one unknown to training: stop, or leave it out and say so."""

    known: Vocabulary | None = field(default=None, init=False, repr=False)
    """That of another data set, instead of one from the training part; see `like`."""

    def __post_init__(self) -> None:
        assert self._kind  # or it is a ValueError

    @property
    def _kind(self) -> str:
        return kind_of(self.tokens, ("words", "bpe", "bytes"))

    def like(self, about: About) -> "Text":
        """Return the task with the vocabulary of another data set; see `Task.like`."""
        task = copy(self)
        object.__setattr__(task, "known", taken_over(about, self._kind))
        return task

    def load(self, seed: int) -> Splits:
        """Read the texts, find the pieces of words in all that is not for testing, hold out the validation part."""
        if not self.path:
            raise DataError("texts are read from files: set data.path to a file, or to a folder with train and test files")
        files = files_of(path_of(self.path), self.name)
        tables = {part: read(files[part], self._columns("text"), self._columns("label")) for part in PARTS}
        classes = tables["train"].class_names or in_order({row.label for row in tables["train"].rows if not row.problem})
        rows = {part: [_known(row, classes) for row in tables[part].rows] for part in PARTS}
        notes = [note for part in PARTS for note in tables[part].notes]
        bad = [row for part in PARTS for row in rows[part] if row.problem]
        notes += left_out([f"{row.where}: {row.problem}" for row in bad], self.on_bad_sample)
        rows = {part: [row for row in rows[part] if not row.problem] for part in PARTS}
        if len(classes) < 2:
            raise DataError(f"classes of the training part of {printable(self.path)}: {len(classes)}; a belief needs 2 or more")
        if not files["test"]:
            rows["train"], rows["test"] = _divided(rows["train"], every_fifth(_labels(rows["train"], classes)))
        vocabulary = self.known or self._vocabulary([row.text for row in rows["train"]])
        if not files["validation"]:
            indices = hold_out(_labels(rows["train"], classes), self.validation, len(classes), seed)
            rows["train"], rows["validation"] = _divided(rows["train"], indices)
        parts = {}
        for part in PARTS:
            ids, longer = self._encode([row.text for row in rows[part]], vocabulary)
            places = torch.tensor([row.place for row in rows[part]], dtype=torch.int64)
            parts[part] = Samples(ids, torch.from_numpy(_labels(rows[part], classes)), rows=places)
            if longer:
                beyond = f"what is beyond data.length = {self.length} tokens is cut off"
                notes.append(f"{part}: of {longer} of {len(ids)} texts {beyond}")
        about = {
            "name": printable(self.name or path_of(self.path).name),
            "num_classes": len(classes),
            "class_names": list(classes),
            "length": self.length,
            "vocabulary": vocabulary.size,
            "tokens": self._kind,
            **vocabulary.about(),
        }
        fingerprint = {file.name: file_sha256(file) for part in PARTS for file in files[part]}
        fingerprint |= {f"arrays/{part}": samples.sha256() for part, samples in parts.items()}
        train, validation, test = (parts[part] for part in PARTS)
        return Splits(train, validation, test, about, fingerprint, tuple(notes))

    def example(self, about: About) -> Tensor:
        """Return two texts of the highest token."""
        return torch.full((2, about["length"]), about["vocabulary"], dtype=torch.int64)

    def prepare(self, inputs: Tensor, about: About) -> Tensor:
        """Return the tokens that a network reads, int64 `[B, T]`: 1 and up, and 0 behind the end of a text."""
        return inputs.to(torch.int64)

    def show(self, inputs: Tensor, about: About) -> str:
        """Return the text, as far as it is read."""
        return f"<code>{escape(remembered(about).decode(inputs[inputs != PADDING].to(torch.int64).numpy() - 1).lstrip())}</code>"

    def readable(self, folder: Path) -> tuple[list[Path], list[str]]:
        """Return the tables in a folder."""
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS), []

    def read(self, name: str, about: About) -> Tensor:
        """Return a text, or all texts of a table of one of `KINDS`, as they are stored, int32 `[n, T]`."""
        if not name or name.isspace():
            raise DataError("an empty text has no class: give some words, in quotes")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{name!r} is no UTF-8") from None
        texts, is_file = [name], False
        with suppress(OSError, ValueError):  # too long a name, or none
            is_file = Path(name).is_file()
        if not is_file and name.endswith(KINDS) and not any(map(str.isspace, name)):
            raise DataError(f"{name}: there is no such file")
        if is_file:
            if Path(name).suffix.lower() not in KINDS:
                raise DataError(f"{name!r} is a file, but no table ({', '.join(KINDS)}): give its text itself, in quotes")
            texts = read_texts(Path(name), self._columns("text"))
        stored, longer = self._encode(texts, remembered(about))
        if longer:
            what = f"of {name[:40]!r} {longer} are" if len(texts) > 1 else f"{texts[0][:40]!r} … is"
            warnings.warn(f"{what} longer than data.length = {self.length} tokens: what is beyond is not read", stacklevel=2)
        return stored

    def _columns(self, which: Literal["text", "label"]) -> Sequence[str]:
        usual: Mapping[str, Sequence[str]] = {"text": ("text", "sentence"), "label": ("coarse_label", "label")}
        asked: str = getattr(self, which)
        return (asked,) if asked else usual[which]

    def _vocabulary(self, texts: Sequence[str]) -> Vocabulary:
        if self._kind == "file":
            return FromFile.read(self.tokens, special=True)
        if self.tokens == "bytes":
            return Bytes()
        whole = "\n".join(texts)
        if self.tokens == "words":
            return Pieces.words(whole, self.vocabulary, lowercase=self.lowercase)
        return Pieces.trained(whole, self.vocabulary, lowercase=self.lowercase, spaced=True)

    def _encode(self, texts: Sequence[str], vocabulary: Vocabulary) -> tuple[Tensor, int]:
        """Return texts as they are stored, int32 `[N, T]`, and how many were longer."""
        stored, longer = torch.full((len(texts), self.length), PADDING, dtype=torch.int32), 0
        for row, text in zip(stored, texts, strict=True):
            ids = vocabulary.encode(text)
            if not len(ids):
                raise DataError(f"{text!r} has no token that data.tokens = {self.tokens!r} knows: leave it out, or take 'bpe'")
            longer += len(ids) > self.length
            row[: len(ids)] = torch.from_numpy(ids[: self.length] + 1)
        return stored, longer


def _known(row: Row, classes: Sequence[str]) -> Row:
    """Return the row, with a problem if its class is none of those of the training part."""
    if row.problem or row.label in classes:
        return row
    return replace(row, problem=f"its label {row.label!r} is not among the training part's {len(classes)}")


def _labels(rows: Sequence[Row], classes: Sequence[str]) -> Labels:
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[row.label] for row in rows], dtype=np.int64)


def _divided(rows: Sequence[Row], indices: tuple[Labels, Labels]) -> tuple[list[Row], list[Row]]:
    first, second = ([rows[i] for i in index] for index in indices)
    return first, second
