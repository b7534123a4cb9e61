"""Keep a result: JSON with command, provenance and settings, and Markdown."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchsid.training.provenance import provenance


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write(args: argparse.Namespace, name: str, rows: list[dict[str, Any]], text: str) -> None:
    """Write `NAME.json` and `NAME.md` into the output folder, and print the text."""
    args.out.mkdir(parents=True, exist_ok=True)
    settings = {key: value for key, value in vars(args).items() if key not in ("out", "run")}
    command = " ".join(["python", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv)])
    result = {"command": command, "settings": settings, "provenance": provenance(), "rows": rows}
    (args.out / f"{name}.json").write_text(json.dumps(result) + "\n")
    (args.out / f"{name}.md").write_text(text)
    print(text)
