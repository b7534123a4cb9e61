"""The reference of docs/command-line.md, read from the parsers: every command with all its arguments.

docs/conf.py writes it into docs/_generated whenever the documentation is built, so it cannot go stale.
"""

import argparse
from collections.abc import Iterator

from torchsid.cli.main import build_parser


def page() -> str:
    """Return a section a command as Markdown."""
    return "\n\n".join(part for parser in commands() for part in _section(parser))


def commands(parser: argparse.ArgumentParser | None = None) -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of every command, one that leads to others before them."""
    parser = parser or build_parser()
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from commands(below)


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return what a command takes besides `--help`, its options last."""
    none = argparse._HelpAction, argparse._SubParsersAction
    return sorted((each for each in parser._actions if not isinstance(each, none)), key=lambda each: bool(each.option_strings))


def _section(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"### `{parser.prog}`"
    yield parser.description or ""
    if parser.epilog:
        yield f"```text\n{parser.epilog}\n```"
    if rows := [_row(action) for action in arguments(parser)]:
        yield "\n".join(["| argument | meaning |", "| --- | --- |", *rows])


def _row(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or "\\|".join(map(str, action.choices or [action.dest.upper()])))
    named = ", ".join(f"`{each}{value and ' '}{value}`" for each in action.option_strings) or f"`{value}`"
    meaning = (action.help or "") % (vars(action) | {"prog": "torchsid"})
    return f"| {named} | {meaning.replace('|', chr(92) + '|')} |"
