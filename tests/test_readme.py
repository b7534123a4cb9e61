"""The commands and snippets of README and docs run: every ```bash and ```python block after a `<!-- test -->` comment.

The comment may hold lines that run first, for what a reader is assumed to have:

    <!-- test
    images = torch.randn(32, 3, 32, 32)
    -->

A block after `<!-- file NAME -->` is a file that lies where the page's shell blocks run.
"""

import re
import shlex
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.fuzz.case import without_reports
from torchsid.cli.main import main

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
    """Let every `torchsid train` of a shell block run for one epoch on a few images, and `certify` look at one split."""
    code = re.sub(
        r"^((?:\w+=\S+ )?torchsid train (?!.*training\.epochs)[^#\n]*)",
        rf"\1 {SMALL} ",
        code.replace("\\\n", " "),
        flags=re.MULTILINE,
    )
    return re.sub(r"^(torchsid certify (?!.*--split)[^#\n]*)", r"\1 --split test ", code, flags=re.MULTILINE)


def test_blocks_of_both_kinds_are_marked() -> None:
    assert blocks("bash")
    assert blocks("python")


@pytest.mark.parametrize(("page", "code"), blocks("bash"))
def test_shell_blocks_run(page: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: it has imported PyTorch once for all commands."""
    monkeypatch.chdir(tmp_path)
    for file in FILE.finditer(page.read_text(encoding="utf-8")):
        Path(file["name"]).write_text(file["code"], encoding="utf-8")
    if "PYTHONPATH=." in code:
        monkeypatch.syspath_prepend(tmp_path)
    for line in shortened(code).splitlines():
        words = [word for word in shlex.split(line.removeprefix("export "), comments=True) if word != "PYTHONPATH=."]
        if words:
            command, *arguments = words
            assert command == "torchsid"
            with without_reports() if arguments[0] == "train" else nullcontext():
                assert main(arguments) == 0


@pytest.mark.parametrize("code", [code for _, code in blocks("python")])
def test_python_blocks_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})


def test_the_readme_has_short_lines_and_links_that_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert max(map(len, text.splitlines())) <= 120
    for path, section in re.findall(r"(?:\]\(|src(?:set)?=\")(?!https)([^)#\"]+)#?([\w-]*)", text):
        assert (ROOT / path).exists(), path
        headings = re.findall("^#+ (.+)$", (ROOT / path).read_text("utf-8"), re.M) if section else []
        assert section in [*(re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings), ""], section
