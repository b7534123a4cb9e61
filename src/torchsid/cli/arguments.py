"""Arguments that several verbs share."""

import argparse

Subparsers = argparse._SubParsersAction  # argparse gives this class no public name


def positive(text: str) -> int:
    """Read a whole number of 1 or more.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} given; allowed is a whole number of 1 or more")
    return int(text)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add `--weights`."""
    parser.add_argument(
        "--weights",
        choices=("best", "last"),
        default="best",
        help="those of the best validation accuracy, or the last ones (default: %(default)s)",
    )
