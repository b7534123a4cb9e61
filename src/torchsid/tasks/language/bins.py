"""Tokens that somebody else has made: nanoGPT's `train.bin` and `val.bin`, taken as they are."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from torchsid.errors import DataError, printable
from torchsid.tasks import cache, ledger
from torchsid.tasks.domain import PARTS
from torchsid.tasks.language.corpus import Corpus, Part
from torchsid.tasks.vocabulary import Numbers

_NAMES = ("train.bin", "val.bin")
_CHUNK = 2**24  # tokens
_HEADERS = {b"\x93NUMPY": "a NumPy array (.npy)", (20240520).to_bytes(4, "little"): "a file of llm.c, with a header"}
_WANTED = f"nanoGPT's prepare.py writes {' and '.join(_NAMES)} as uint16 and nothing else"


def of_tokens(folder: Path, setting: str, *, size: int, validation: float) -> Corpus:
    """Return the tokens of `train.bin` and `val.bin` (uint16, nanoGPT's), of which the latter is the test part.

    Args:
        folder: of both.
        setting: where the cache is; see `cache.folder`.
        size: V.
        validation: share of `train.bin` that is held out, from the end.

    Raises:
        DataError: a file is missing or no uint16, or has a token outside the vocabulary (names the first).
    """
    files = [folder / name for name in _NAMES]
    try:
        states = [file.stat() if file.is_file() else None for file in files]
        for file, state in zip(files, states, strict=True):
            if state is None or state.st_size % 2:
                what = "is not there" if state is None else "holds an odd number of bytes, which are no uint16"
                raise DataError(f"{printable(str(file))} {what}: {_WANTED}")
        hashes = ledger.of_few(setting, "language", folder, files)
        for file, sha256 in zip(files, hashes, strict=True):
            _check(file, sha256, setting, size)
    except OSError as error:
        raise DataError(f"{printable(str(error.filename or folder))} cannot be read: {error.strerror}") from None
    train, test = files
    times = [state.st_mtime_ns for state in states if state]
    counts = [state.st_size // 2 for state in states if state]
    held_out = round(validation * counts[0])
    places = [(train, 0, counts[0] - held_out), (train, counts[0] - held_out, held_out), (test, 0, counts[1])]
    parts = {name: Part(*place, changed=time) for name, place, time in zip(PARTS, places, (times[0], *times), strict=True)}
    return Corpus(parts, Numbers(size), dict(zip(_NAMES, hashes, strict=True)), "")


def _check(file: Path, sha256: str, setting: str, size: int) -> None:
    """Look at all tokens, unless that was done; the cache knows the largest of a file's content."""
    entry = cache.entry(setting, "tokens", sha256).with_suffix(".json")
    if (known := cache.remembered(entry)) and known["largest"] < size:
        return
    name, largest, every_second = printable(str(file)), -1, 0
    with file.open("rb") as opened:
        for start, what in _HEADERS.items():
            if opened.peek().startswith(start):
                raise DataError(f"{name} is {what}: {_WANTED}")
        place = 0
        while len(ids := np.frombuffer(opened.read(2 * _CHUNK), np.uint16)):
            largest, every_second = max(largest, int(ids.max())), max(every_second, int(ids[1::2].max(initial=0)))
            if largest >= size:
                place += int(np.argmax(ids >= size))
                raise DataError(
                    f"{name}: token {place} is {ids[ids >= size][0]}, outside data.vocabulary = {size}: set it to the size of the "
                    "tokenizer's (GPT-2's is 50257); or the file is of another type than uint16"
                )
            place += len(ids)
    if largest > every_second == 0 and place > 2:
        raise DataError(f"{name}: every second token is 0, as if they were stored as uint32: {_WANTED}")
    with suppress(OSError), cache.locked(entry):  # else it is looked at again
        cache.remember(entry, {"largest": largest})
