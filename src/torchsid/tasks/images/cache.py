"""Decoded images on disk, so that a second start takes a second.

An entry is one uncompressed `.npz`, named after the content of the files that it was decoded from. The archive's own
CRC-32 is checked on reading; an entry that fails it is rebuilt.
"""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from torchsid.settings import path_of
from torchsid.tasks.images.raw import RawPart, RawSet

_FORMAT = 3  # raise it when what is stored, or how images are decoded, changes
_PARTS = ("train", "validation", "test")
_ARRAYS = ("images", "labels", "rows")


def folder(setting: str) -> Path:
    """Return the cache's folder: the setting, or the user's cache folder by the XDG rules."""
    if setting:
        return path_of(setting)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "torchsid"


def remember(folder: Path, name: str, key: Mapping[str, str], build: Callable[[], RawSet]) -> RawSet:
    """Return the data set stored under `name` and `key`, or build and store it.

    Args:
        folder: the cache's folder.
        name: begins the name of the file.
        key: all that the result depends on: settings, and the SHA-256 of every source file.
        build: decodes the images.
    """
    digest = hashlib.sha256(json.dumps([_FORMAT, sorted(key.items())]).encode()).hexdigest()
    path = folder / f"{name}-{digest[:20]}.npz"
    if (stored := _read(path)) is not None:
        return stored
    logging.getLogger(__name__).info("decoding the images of %s, this once; to be kept in %s", name, path)
    built = build()
    try:
        _write(path, built)
    except OSError as error:
        warnings.warn(f"decoded images cannot be stored, set data.cache: {error}", RuntimeWarning, stacklevel=2)
    return built


def _write(path: Path, raw: RawSet) -> None:
    parts = {name: part for name in _PARTS if (part := getattr(raw, name)) is not None}
    arrays = {f"{name}.{kind}": getattr(part, kind) for name, part in parts.items() for kind in _ARRAYS}
    names = {name: part.names for name, part in parts.items()}
    words = json.dumps({"class_names": raw.class_names, "skipped": raw.skipped, "names": names}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez(file, words=np.frombuffer(words, dtype=np.uint8), **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> RawSet | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            words = json.loads(stored["words"].tobytes())
            parts: dict[str, Any] = {
                part: RawPart(**{kind: stored[f"{part}.{kind}"] for kind in _ARRAYS}, names=names and tuple(names))
                for part, names in words["names"].items()
            }
            return RawSet(**parts, class_names=tuple(words["class_names"]), skipped=tuple(words["skipped"]))
    except Exception:  # absent, or damaged in any way: decode again
        return None
