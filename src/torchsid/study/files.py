"""What is found, written whole or not at all: JSON for other programs, pages for people."""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.errors import RunError
from torchsid.training.durable import os_errors, write_text

if TYPE_CHECKING:
    from torchsid.show.page import Page


def write_file(path: Path, text: str) -> None:
    """Write a text file; its directory is made.

    Raises:
        RunError: the operating system refuses.
    """
    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, which lacks NaN and infinity: they become null.

    Raises:
        RunError: the operating system refuses.
    """
    write_file(path, json.dumps(_finite(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_page(path: Path, page: "Page") -> None:
    """Write a page.

    Raises:
        RunError: the path is a directory or cannot be written, or a package of the extra `torchsid[report]` is missing.
    """
    if path.is_dir():
        raise RunError(f"{path} is a directory; name the file to write, for example {path / 'report.html'}")
    write_file(path, page.html())


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
