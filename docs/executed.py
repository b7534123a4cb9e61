"""A page whose commands and snippets run when the documentation is built; what they print stands below them.

Blocks of `bash` have lines that begin with `torchsid`, those of `python` share one namespace; all run in one new folder. Lines of
progress and addresses of files are left out.
"""

import os
import re
import shlex
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Any

from torchsid.cli.main import main

_BLOCK = re.compile(r"```(?P<language>bash|python)\n(?P<code>.*?)```\n", re.DOTALL)
_LEFT_OUT = re.compile(r"^(epoch .*|\w+: file:.*)$")
_WIDTH = "118"


def executed(page: str) -> str:
    """Return the page with the output of its blocks; a block that fails is an error."""
    namespace: dict[str, Any] = {"__name__": "tutorial"}

    def run(block: re.Match[str]) -> str:
        said = StringIO()
        with redirect_stdout(said), redirect_stderr(StringIO()):
            if block["language"] == "python":
                exec(compile(block["code"], "tutorial", "exec"), namespace)
            else:
                for line in filter(None, block["code"].splitlines()):
                    program, *words = shlex.split(line, comments=True)
                    if program != "torchsid" or main(words) != 0:
                        raise RuntimeError(f"fails: {line}")
        kept = "\n".join(line.rstrip() for line in said.getvalue().splitlines() if not _LEFT_OUT.match(line)).strip()
        shown = re.sub(r"\n{3,}", "\n\n", kept)
        return block[0] + (f"\n```text\n{shown}\n```\n" if shown else "")

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDTH
    try:
        with TemporaryDirectory() as folder, chdir(folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _BLOCK.sub(run, page)
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
