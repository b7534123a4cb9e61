"""From files to tokens on disk: a text is encoded once, a `.bin` of tokens is taken as it is."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torchsid.durable import file_sha256, replaced
from torchsid.errors import DataError, printable
from torchsid.tasks.domain import PARTS
from torchsid.tasks.stored import RowFile
from torchsid.tasks.vocabulary import Bytes, Characters, Pieces, Vocabulary

_FORMAT = 2  # raise it when what is stored changes
_BINS = ("train.bin", "val.bin")  # as nanoGPT calls them
_CHUNK = 2**24  # tokens


@dataclass(frozen=True)
class Part:
    """Tokens of one part of a corpus: `count` of them in a file, from `first` on."""

    path: Path
    first: int
    count: int
    dtype: torch.dtype = torch.uint16
    characters: int = 0
    """Of its text; 0 where tokens were given."""
    bytes: int = 0
    """Of its text in UTF-8."""
    changed: int = 0
    """When a file of somebody else was, in nanoseconds since 1970."""

    def tokens_per(self) -> dict[str, float]:
        """Return how many tokens there are for a character, and for a byte, of a text."""
        return {"characters": self.count / self.characters, "bytes": self.count / self.bytes} if self.bytes else {}

    def read(self, starts: Tensor, width: int) -> Tensor:
        """Return some windows of tokens, `[n, width]`, by where each begins, int64 `[n]`.

        Raises:
            DataError: the file has gone, or has changed.
        """
        windows = RowFile(self.path, (width,), self.dtype, stride=self.dtype.itemsize, changed=self.changed)
        return windows.read(self.first + starts)


@dataclass(frozen=True)
class Corpus:
    """A corpus as tokens.

    Attributes:
        parts: `train`, what is learnt from; `validation`, what comes after it; `test`, what comes last, or has a file of its own.
        vocabulary: None where tokens were given.
        size: V.
        files: SHA-256 of what was read.
    """

    parts: Mapping[str, Part]
    vocabulary: Vocabulary | None
    size: int
    files: Mapping[str, str]


def of_text(path: Path, cache: Path, *, tokens: str, size: int, shares: tuple[float, float]) -> Corpus:
    """Return a text as tokens, encoded once and kept in the cache.

    Args:
        path: a file in UTF-8.
        cache: folder for what was encoded.
        tokens: `"characters"`, `"bytes"` or `"bpe"`; characters and pieces are those of the training part.
        size: V, of `"bpe"`.
        shares: of the characters that validation and test get, from the end.

    Raises:
        DataError: the file is missing or no UTF-8 (names the line), or its held-out parts have unknown characters.
    """
    data = _bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise DataError(
            f"{printable(str(path))}, line {line} is no UTF-8 (byte {data[error.start]:#04x}): save it as UTF-8"
        ) from None
    held_out = [round(share * len(text)) for share in shares]
    ends = np.cumsum([len(text) - sum(held_out), *held_out]).tolist()
    texts = [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    sha256 = hashlib.sha256(data).hexdigest()
    key = json.dumps([_FORMAT, sha256, tokens, size if tokens == "bpe" else 0, ends])
    entry = cache / f"language-{hashlib.sha256(key.encode()).hexdigest()[:20]}"
    vocabulary = _vocabulary(entry.with_suffix(".json"), tokens, size, texts[0])
    dtype = torch.uint16 if vocabulary.size <= 2**16 else torch.uint32
    kind = np.dtype(str(dtype).removeprefix("torch."))
    ids = entry.with_suffix(".ids")
    counts = _counts(entry.with_suffix(".counts.json"), ids)
    if counts is None:
        try:
            encoded = [vocabulary.encode(part) for part in texts]
        except DataError as error:
            raise DataError(f"{printable(str(path))}: in what is held out, {error}") from None
        counts = [len(part) for part in encoded]
        _write(ids, np.concatenate(encoded).astype(kind).tobytes())
        _write(entry.with_suffix(".counts.json"), json.dumps([file_sha256(ids), *counts]).encode())
    firsts = np.cumsum([0, *counts[:-1]]).tolist()
    parts = [
        Part(ids, first, count, dtype, characters=len(part), bytes=len(part.encode()))
        for first, count, part in zip(firsts, counts, texts, strict=True)
    ]
    return Corpus(dict(zip(PARTS, parts, strict=True)), vocabulary, vocabulary.size, {path.name: sha256})


def of_tokens(folder: Path, *, size: int, validation: float) -> Corpus:
    """Return the tokens of `train.bin` and `val.bin` (uint16, nanoGPT's), of which the latter is the test part.

    Args:
        folder: of both.
        size: V.
        validation: share of `train.bin` that is held out, from the end.

    Raises:
        DataError: a file is missing or no uint16, or has a token outside the vocabulary (names the first).
    """
    files = [folder / name for name in _BINS]
    counts, changed = [], []
    for file in files:
        if not file.is_file() or file.stat().st_size % 2:
            what = "holds an odd number of bytes, which are no uint16" if file.is_file() else "is not there"
            raise DataError(f"{printable(str(file))} {what}: nanoGPT's prepare.py writes {' and '.join(_BINS)}")
        counts.append(file.stat().st_size // 2)
        changed.append(file.stat().st_mtime_ns)
        for start in range(0, counts[-1], _CHUNK):
            ids = np.fromfile(file, np.uint16, _CHUNK, offset=2 * start)
            if (ids >= size).any():
                place = start + int(np.argmax(ids >= size))
                raise DataError(
                    f"{printable(str(file))}: token {place} is {ids[place - start]}, outside data.vocabulary = {size}: set it to "
                    "the size of the tokenizer's (GPT-2's is 50257); or the file is of another type than uint16"
                )
    held_out = round(validation * counts[0])
    train, test = files
    places = [(train, 0, counts[0] - held_out), (train, counts[0] - held_out, held_out), (test, 0, counts[1])]
    times = (changed[0], *changed)
    parts = {name: Part(*place, changed=time) for name, place, time in zip(PARTS, places, times, strict=True)}
    return Corpus(parts, None, size, {file.name: file_sha256(file) for file in files})


def _vocabulary(file: Path, tokens: str, size: int, text: str) -> Vocabulary:
    if tokens == "bytes":
        return Bytes()
    if tokens == "characters":
        return Characters(text)
    if file.is_file():
        with suppress(Exception):  # of a library's own kind: it is damaged
            return Pieces.of(file.read_text("utf-8"))
    pieces = Pieces.trained(text, size)
    if pieces.size != size:
        found = f"the training text has only {pieces.size} pieces"
        raise DataError(f"data.vocabulary = {size}, but {found}: set it to {pieces.size} or less")
    _write(file, pieces.about()["tokenizer"].encode())
    return pieces


def _counts(file: Path, ids: Path) -> list[int] | None:
    """Return how many tokens each part has, if they are there and undamaged."""
    try:
        sha256, *counts = json.loads(file.read_text())
        return counts if sha256 == file_sha256(ids) else None
    except (OSError, ValueError):
        return None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(str(path))} (data.path) cannot be read: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path, mark=str(os.getpid())) as file:
            file.write(data)
    except OSError as error:
        raise DataError(f"tokens cannot be kept in {printable(str(path.parent))} ({error.strerror}): set data.cache") from None
