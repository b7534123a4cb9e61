"""What is found, written whole or not at all: JSON for other programs, pages for people."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.errors import RunError
from torchsid.training.durable import os_errors, replace_file

if TYPE_CHECKING:
    from torchsid.show.page import Page


def write_file(path: Path, text: str) -> None:
    """Write a text file; its directory is made.

    Raises:
        RunError: the operating system refuses.
    """
    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text)


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON: dataclasses by their fields; NaN and infinity, which JSON lacks, become null.

    Raises:
        RunError: the operating system refuses.
    """
    text = json.dumps(value, default=lambda each: str(each) if isinstance(each, Path) else asdict(each))
    write_file(path, json.dumps(json.loads(text, parse_constant=lambda _: None), indent=2, ensure_ascii=False) + "\n")


def write_page(path: Path, page: "Page") -> None:
    """Write a page.

    Raises:
        RunError: the path is a directory or cannot be written, or a package of the extra `torchsid[report]` is missing.
    """
    if path.is_dir():
        raise RunError(f"{path} is a directory; name the file to write, for example {path / 'report.html'}")
    write_file(path, page.html())
