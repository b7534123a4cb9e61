import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from torchsid.errors import MissingPackageError
from torchsid.show.page import Card, Cards, Code, Figures, Folded, Page, Section
from torchsid.show.plots.belief_paths import river
from torchsid.show.plots.curves import by_stage
from torchsid.show.plots.points import Point
from torchsid.show.tables import Cell, table

from .parsed import parsed

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = ["<script>alert(1)</script>", '"><img src=x>', "{{ 7*7 }}", "a & b", "猫", "a" * 60]
DRAWING = by_stage("KL <b>", {name: [Point(2.3), Point(1.0, 0.5, 1.5), Point(0.5)] for name in HOSTILE})


def page() -> Page:
    """A page of every kind of part, all of whose words are hostile."""
    rows = [[name, Cell("1.0", "0.5 to 1.5", "▲"), "2"] for name in HOSTILE]
    numbers = table(["method", *HOSTILE[:2]], rows, HOSTILE[3])
    sample = '<img alt="" src="data:image/png;base64,AAAA">'
    card = Card(sample, HOSTILE[0], HOSTILE, river(np.full((3, 6), 1 / 6), HOSTILE, 0))
    parts = [
        numbers,
        Figures([DRAWING]),
        Cards("cards", [card]),
        Code(HOSTILE[5], HOSTILE[0]),
        Folded("config", [Code("", "config")]),
    ]
    return Page(
        title=HOSTILE[0],
        subtitle=HOSTILE[1],
        notes=HOSTILE,
        sections=[
            Section("first", HOSTILE[0], HOSTILE[2], parts),
            Section("empty", "nothing to say", "", []),
            Section("last", "Last", "", [Folded("more", parts[:2]), numbers._replace(kind="facts")]),
        ],
    )


def test_hostile_words_are_text_on_a_page_that_is_whole() -> None:
    found = parsed(page().html())
    assert found.sections == ["first", "last"]  # a section without parts is left out
    assert "{{ 7*7 }}" in found.words
    assert "<script>alert(1)</script>" in found.words
    assert [tag for tag, _ in found.tags].count("img") == 1


def test_drawings_are_found_by_section_and_number() -> None:
    assert page().drawings() == {"first-1": DRAWING}


def test_without_jinja_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'torchsid\[report\]'"):
        page().html()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome: apt-get install chromium")
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_does_not_overflow(tmp_path: Path, width: int) -> None:
    (tmp_path / "page.html").write_text(re.sub(r"<meta http-equiv[^>]+>", "", page().html()), encoding="utf-8")
    probe = """<!DOCTYPE html><iframe src="page.html" style="border: 0; width: %dpx; height: 900px"></iframe><script>
    onload = () => { const page = document.querySelector("iframe").contentDocument.documentElement;
    document.title = JSON.stringify([page.clientWidth, page.scrollWidth, page.scrollHeight]); }</script>"""
    (tmp_path / "probe.html").write_text(probe % width)
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    command += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000"]
    result = subprocess.run([*command, (tmp_path / "probe.html").as_uri()], capture_output=True, text=True, timeout=60)
    title = re.search(r"<title>(\[.*?\])</title>", result.stdout)
    assert title, result.stderr
    shown, needed, height = json.loads(title[1])
    assert width - 20 <= shown <= width
    assert needed <= shown
    assert height > 1000
