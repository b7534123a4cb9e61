"""The commands and snippets of README and docs run: every ```bash and ```python block after a `<!-- test -->` comment.

The comment may hold lines that run first, for what a reader is assumed to have:

    <!-- test
    images = torch.randn(32, 3, 32, 32)
    -->

A block after `<!-- file NAME -->` is a file that lies where the page's shell blocks run.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"<!-- test(?P<setup>.*?)-->\s*```(?P<language>bash|python)\n(?P<code>.*?)```", re.DOTALL)
FILE = re.compile(r"<!-- file (?P<name>\S+) -->\s*```\w+\n(?P<code>.*?)```", re.DOTALL)
SMALL = "--set training.epochs=1 --set data.limit=128"


def blocks(language: str) -> list[tuple[Path, str]]:
    """The marked blocks of one language with their page, each with its setup lines in front."""
    found = [(page, match) for page in PAGES for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    return [(page, match["setup"].strip() + "\n" + match["code"]) for page, match in found if match["language"] == language]


def shortened(code: str) -> str:
    """Let every `torchsid train` of a shell block run for one epoch on a few images."""
    return re.sub(
        r"^((?:\w+=\S+ )?torchsid train (?!.*training\.epochs)[^#\n]*)",
        rf"\1 {SMALL} ",
        code.replace("\\\n", " "),
        flags=re.MULTILINE,
    )


def run(command: list[str], directory: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stdout + result.stderr


def test_blocks_of_both_kinds_are_marked() -> None:
    assert blocks("bash")
    assert blocks("python")


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), blocks("bash"))
def test_shell_blocks_run(page: Path, code: str, tmp_path: Path) -> None:
    for file in FILE.finditer(page.read_text(encoding="utf-8")):
        (tmp_path / file["name"]).write_text(file["code"], encoding="utf-8")
    run(["bash", "-euo", "pipefail", "-c", shortened(code)], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("code", [code for _, code in blocks("python")])
def test_python_blocks_run(code: str, tmp_path: Path) -> None:
    run([sys.executable, "-W", "error", "-c", code], tmp_path)


def test_shortening_keeps_the_command() -> None:
    assert shortened("torchsid train digits \\\n  --out runs/x  # two minutes\ntorchsid list recipes\n").split("\n") == [
        f"torchsid train digits    --out runs/x   {SMALL} # two minutes",
        "torchsid list recipes",
        "",
    ]
