"""What verbs find: tables to read, and files."""

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli.console import Console, abridged
from torchsid.study.files import write_file
from torchsid.study.files import write_json as write_value

if TYPE_CHECKING:
    from torchsid.show.svg import Drawing
    from torchsid.show.tables import Table


def print_table(screen: Console, table: "Table", *, by_stage: bool = False) -> None:
    """Print a table with its caption; if its rows are stages, of many the ends alone."""
    lines = table.lines()
    if by_stage:
        kept = abridged([str(place) for place in range(len(lines))])
        lines = [lines[int(place)] if place.isdigit() else [place] * len(table.columns) for place in kept]
    if table.caption:
        print(table.caption)
    screen.table(table.columns, lines)


def command_of(args: argparse.Namespace) -> str:
    """Return the command as it was typed."""
    return shlex.join(["torchsid", *args.command])


def write_json(
    screen: Console, args: argparse.Namespace, what: str, found: Mapping[str, Any], *, measured_on: str | None = None
) -> None:
    """Write what was found to the file of `--json`, if one is asked for.

    What was measured on a device, such as `"cpu"`, is written with the command and with where the numbers come from.
    """
    if args.json:
        if measured_on is not None:
            import torch

            from torchsid.training.provenance import provenance

            found = {"command": command_of(args), "provenance": provenance(torch.device(measured_on)), **found}
        write_value(args.json, found)
        screen.file(what, args.json)


def draw(screen: Console, path: Path, *drawings: "Drawing") -> None:
    """Write figures into one SVG file."""
    from torchsid.show.svg import standalone

    write_file(path, standalone(*drawings))
    screen.file("figure", path)
