"""What a command says goes out whatever the terminal: any encoding, closed, gone, or full."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from torchsid.errors import printable


def prepare_streams() -> None:
    """Let characters that a stream lacks be replaced, and what was closed be nowhere."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:  # a closed one would be given to the next file that is opened
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(os.dup(1), "w")
    sys.stderr = sys.stderr or os.fdopen(os.dup(2), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


def emit(text: str = "", *, error: bool = False) -> None:
    """Print a text at once; where nobody reads any more, or the disk is full, what follows goes nowhere and the work goes on."""
    stream = sys.stderr if error else sys.stdout
    try:
        print("\n".join(map(printable, text.split("\n"))), file=stream, flush=True)
    except OSError as problem:
        silence(stream)
        if not error and not isinstance(problem, BrokenPipeError):
            emit(f"torchsid: warning: nothing more is printed here: {problem.strerror}", error=True)


def silence(stream: TextIO) -> None:
    """Send a stream nowhere, with what it still holds."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
