"""From a text to tokens in the cache, once; a warm start reads neither.

CACHE/language-<20 hex>.ids   the tokens of all parts, uint16 or uint32
CACHE/language-<20 hex>.json  written last: their SHA-256, size and time, how many there are, and the vocabulary
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchsid.durable import file_sha256, replaced
from torchsid.errors import DataError, printable
from torchsid.tasks import cache, ledger
from torchsid.tasks.domain import PARTS
from torchsid.tasks.language.corpus import Corpus, Part
from torchsid.tasks.progress import Progress
from torchsid.tasks.vocabulary import Bytes, Characters, Pieces, Vocabulary, remembered

_FORMAT = 4  # raise it when what is stored changes
_CHUNK = 2**22  # characters that are encoded at once

Known = dict[str, Any]
"""What the JSON file says."""


def of_text(
    path: Path, setting: str, *, tokens: str, size: int, shares: tuple[float, float], given: Vocabulary | None = None
) -> Corpus:
    """Return a text as tokens.

    Args:
        path: a file in UTF-8.
        setting: where the cache is; see `cache.folder`.
        tokens: `"characters"`, `"bytes"` or `"bpe"`, where characters and pieces are those of the training part; or another kind,
            of which the vocabulary is given.
        size: V, of `"bpe"`.
        shares: of the characters that validation and test get, from the end.
        given: a vocabulary of these tokens, instead of the training part's.

    Raises:
        DataError: the file is missing, empty or no UTF-8 (names line and byte), or changes meanwhile; it has unknown characters
            (names the line); the cache cannot be written.
    """
    try:
        (sha256,) = ledger.of_few(setting, "language", path.parent, [path])
    except OSError as error:
        raise DataError(f"{printable(str(path))} (data.path) cannot be read: {error.strerror}") from None
    follows_from = [_FORMAT, sha256, tokens, size if tokens == "bpe" else 0, *shares]
    entry = cache.entry(setting, "language", *follows_from)
    known, said = _known(entry), given and {"tokens": tokens, **given.about()}
    if said and (known is None or known["vocabulary"] != said):
        entry = cache.entry(setting, "language", *follows_from, said)
        known = _known(entry)
    if known is None:
        text = _text(path, sha256)
        try:
            with cache.locked(entry) as alone:
                known = _known(entry) or _encode(entry, path, text, tokens, given or size, shares, shared=not alone)
        except OSError as error:
            there = printable(str(entry.parent))
            raise DataError(f"tokens cannot be kept in {there} ({error.strerror}): set data.cache") from None
    ids, dtype, vocabulary = entry.with_suffix(".ids"), getattr(torch, known["dtype"]), remembered(known["vocabulary"])
    assert vocabulary is not None  # texts are encoded here
    counts = zip(known["counts"], known["characters"], known["bytes"], strict=True)
    firsts = accumulate(known["counts"], initial=0)
    parts = {
        name: Part(ids, first, count, dtype, characters, size, changed=known["state"][1])
        for name, first, (count, characters, size) in zip(PARTS, firsts, counts, strict=False)
    }
    return Corpus(parts, vocabulary, {path.name: sha256}, known["sha256"])


def _text(path: Path, sha256: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(str(path))} (data.path) cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{printable(str(path))} has changed while it was read: start again when it stays as it is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        what = f"is no UTF-8 (byte {error.start} of the file is {data[error.start]:#04x})"
        raise DataError(f"{printable(str(path))}, line {line} {what}: save it as UTF-8") from None


def _known(entry: Path) -> Known | None:
    """Return what is known of a text's tokens, if they are there and undamaged."""
    ids, known = entry.with_suffix(".ids"), cache.remembered(entry.with_suffix(".json"))
    with suppress(OSError):
        if known and known["state"] != _state(ids):  # copied, maybe
            return {**known, "state": _state(ids)} if known["sha256"] == file_sha256(ids) else None
        return known
    return None


def _encode(
    entry: Path, path: Path, text: str, tokens: str, wanted: int | Vocabulary, shares: Sequence[float], *, shared: bool
) -> Known:
    """Write the tokens of a text, in a vocabulary or one of some size, and what is to be known of them."""
    held_out = [round(share * len(text)) for share in shares]
    ends = [len(text) - sum(held_out), len(text) - held_out[1], len(text)]
    if not text[: ends[0]].strip():
        raise DataError(
            f"{printable(str(path))} has no text to learn from: {len(text)} characters, {sum(held_out)} of them held out"
        )
    vocabulary = _vocabulary(tokens, wanted, text[: ends[0]]) if isinstance(wanted, int) else wanted
    dtype, ids = "uint16" if vocabulary.size <= 2**16 else "uint32", entry.with_suffix(".ids")
    progress, digest = Progress(f"encoding {printable(path.name)}", len(text)), hashlib.sha256()
    counts, lengths = [0, 0, 0], [0, 0, 0]
    with replaced(ids, shared=shared) as file:
        line = 1
        for part, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            for chunk in _chunks(text, start, end):
                try:
                    found = vocabulary.encode(chunk, line).astype(dtype)
                except DataError as error:
                    where = ", in what is held out" if isinstance(wanted, int) else ""
                    raise DataError(f"{printable(str(path))}{where}, {error}") from None
                digest.update(found.data)
                file.write(found.data)
                counts[part] += len(found)
                lengths[part] += len(chunk.encode())
                line += chunk.count("\n")
                progress.add(len(chunk))
    known = {
        "sha256": digest.hexdigest(),
        "state": _state(ids),
        "dtype": dtype,
        "counts": counts,
        "characters": np.diff(ends, prepend=0).tolist(),
        "bytes": lengths,
        "vocabulary": {"tokens": tokens, **vocabulary.about()},
    }
    cache.remember(entry.with_suffix(".json"), known)
    return known


def _vocabulary(tokens: str, size: int, text: str) -> Vocabulary:
    """Return the vocabulary of a training part."""
    if tokens == "bytes":
        return Bytes()
    if tokens == "characters":
        return Characters(text)
    pieces = Pieces.trained(text, size)
    if pieces.size != size:
        found = f"the training text has only {pieces.size} pieces"
        raise DataError(f"data.vocabulary = {size}, but {found}: set it to {pieces.size} or less")
    return pieces


def _chunks(text: str, start: int, end: int) -> Iterator[str]:
    """Yield a part of a text, whole lines at a time: what pieces of words never cross."""
    while start < end:
        stop = min(1 + text.find("\n", start + _CHUNK, end) or end, end)
        yield text[start:stop]
        start = stop


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
