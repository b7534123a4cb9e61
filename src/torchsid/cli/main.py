"""The `torchsid` command: its parser and the boundary where errors become messages and exit codes.

Exit codes: 0 done, 2 a request that cannot be met, 130 or 143 interrupted by Ctrl-C or SIGTERM.
"""

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from torchsid import errors
from torchsid.__about__ import __version__
from torchsid.cli import (
    audit,
    bench,
    certify,
    compare,
    compress,
    doctor,
    evaluate,
    experiment,
    export,
    plan,
    predict,
    report,
    train,
)
from torchsid.cli import list as list_
from torchsid.cli.streams import emit, prepare_streams, silence

VERBS = (train, evaluate, certify, predict, audit, compress, export, compare, report, experiment, bench, plan, list_, doctor)
USER_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    *(each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ValueError)),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command: every verb adds its arguments, and is described by its file's first words."""
    parser = argparse.ArgumentParser(
        prog="torchsid",
        description="Train networks without a global backward pass, and compare them with backpropagation.",
        epilog="Try: torchsid train digits",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"torchsid {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error (also: TORCHSID_DEBUG=1)")
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        about, _, examples = (verb.__doc__ or "").strip().partition("\n\n")
        name, summary = verb.__name__.rpartition(".")[-1], about.partition(": ")[-1].rstrip(".")
        verb_parser = subparsers.add_parser(name, help=summary, epilog=examples, allow_abbrev=False)
        verb_parser.description = f"{summary[:1].upper()}{summary[1:]}."
        verb_parser.formatter_class = argparse.RawDescriptionHelpFormatter  # examples keep their lines
        verb_parser.set_defaults(run=verb.run)
        verb.add_arguments(verb_parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` defaults to the process's own arguments."""
    prepare_streams()
    args = build_parser().parse_args(argv)
    args.command = list(sys.argv[1:] if argv is None else argv)
    logger = logging.getLogger("torchsid")
    logger.setLevel(logging.WARNING if getattr(args, "quiet", False) else logging.INFO)
    logger.handlers, logger.propagate = [_Notes()], False
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)  # its reader has gone; Python must not complain at exit
        return 0
    except KeyboardInterrupt as stop:
        emit("torchsid: interrupted", error=True)
        return 128 + getattr(stop, "signal", signal.SIGINT)
    except USER_ERRORS as error:
        if args.debug or os.environ.get("TORCHSID_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        if _speaks(error):
            emit(f"torchsid: error: {error}", error=True)
        _tell_launcher(error)
        return 2
    except Exception as error:
        _tell_launcher(error)
        raise
    return code


class _Notes(logging.Handler):
    """Prints what takes its time before there is a run: reading files, decoding images, waiting for another process."""

    def emit(self, record: logging.LogRecord) -> None:
        emit(f"torchsid: {record.getMessage()}", error=True)


def _speaks(error: Exception) -> bool:
    """Return whether this process is to say the error; of several workers one does."""
    if "RANK" not in os.environ:
        return True
    from torchsid.distributed.diagnosis import speaks

    return speaks(error)


def _tell_launcher(error: Exception) -> None:
    """Let `torchrun`, where it started this process, show the error of the worker that failed first."""
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        from torchsid.distributed.diagnosis import tell_launcher

        tell_launcher(error)
