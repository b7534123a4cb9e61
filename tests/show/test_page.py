import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from torchsid.errors import RunError
from torchsid.show import render

from .conftest import PLAN, Make, maker

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SECTIONS = ["summary", "curves", "stages", "beliefs", "confusion", "calibration", "cost", "conflict", "locality"]
SECTIONS += ["noise", "provenance"]
NOISE = {"kind": "symmetric", "rate": 0.2, "measured": 0.1981}
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a page is made of; unbalanced tags are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def values(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.tags if name in attributes]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of three runs."""
    directory = tmp_path_factory.mktemp("several")
    make = maker(directory)
    runs = [make("a", plan=PLAN), make("b", label="Backprop", error=0.1), make("c", label="Plain", depth=1)]
    return render(runs, directory / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The page of one run, and the run's configuration."""
    directory = tmp_path_factory.mktemp("single")
    run = maker(directory)(settings={"data.path": "a <b> & c"}, noise=NOISE)
    out = render([run], directory / "new" / "report.html")
    return out.read_text(encoding="utf-8"), (run / "config.toml").read_text()


def test_one_run_has_every_section_in_order(single: tuple[str, str]) -> None:
    page = Page(single[0])
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == SECTIONS
    assert page.values("href")[: len(SECTIONS)] == [f"#{name}" for name in SECTIONS]
    assert "SID reaches" in page.words
    assert "KL falls at every one of the 5 stages" in page.words or "KL rises at" in page.words
    assert "torchsid train digits --set training.seed=0 --out run" in page.words


def test_several_runs_are_one_valid_page(several: str) -> None:
    page = Page(several)
    twice = [name for name, count in Counter(page.values("id")).items() if count > 1]
    assert twice == []
    assert len([tag for tag, _ in page.tags if tag == "h1"]) == 1
    for name in ("SID", "Backprop", "Plain"):
        assert f"{name}: confusion matrix" in page.words


def test_noise_has_its_section_only_when_there_was_some(several: str) -> None:
    assert "noise" not in Page(several).values("id")


def test_the_page_loads_nothing(several: str) -> None:
    page = Page(several)
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert all(target.startswith(("#", "data:")) for target in page.values("href"))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?://|@import", several)
    assert "default-src 'none'" in several


def test_every_picture_and_table_can_be_read_out(several: str) -> None:
    page = Page(several)
    tags = [tag for tag, _ in page.tags]
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg")
    assert tags.count("caption") == tags.count("table")
    assert ("html", {"lang": "en"}) in page.tags


def test_hostile_names_are_text(make_run: Make, tmp_path: Path) -> None:
    hostile = ["<script>alert(1)</script>", '"><img src=x>', "$x^{", "{{ 7*7 }}", "a & b", "猫"]
    run = make_run(label="<b>SID</b>", names=hostile, error=0.3, warnings=["<i>late</i>"])
    page = Page(render([run], tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not {"script", "b", "i"} & {tag for tag, _ in page.tags}
    assert all(source.startswith("data:") for source in page.values("src"))
    assert "<b>SID</b> reaches" in page.words
    assert "<i>late</i>" in page.words
    assert '"><img src=x>' in page.words
    assert "{{ 7*7 }}" in page.words


def test_an_unfinished_run_alone_has_a_page(make_run: Make, tmp_path: Path) -> None:
    page = Page(render([make_run(status="interrupted")], tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "No run has been evaluated yet." in page.words
    assert "run is interrupted after 12 epochs" in page.words


def test_a_run_killed_before_its_first_epoch_has_a_page(make_run: Make, tmp_path: Path) -> None:
    page = Page(render([make_run(status="running", epochs=0)], tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "run is running after 0 epochs" in page.words


def test_many_classes_and_deep_cascades_have_a_page(make_run: Make, tmp_path: Path) -> None:
    run = make_run(depth=16, names=[f"class {k}" for k in range(24)], error=0.4, n=500, epochs=2)
    page = Page(render([run], tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Confused most often by SID" in page.words
    assert any(target.startswith("data:image/png") for target in page.values("href"))


def test_a_trunk_that_was_cut_shows_where(several: str, single: tuple[str, str]) -> None:
    page = Page(several)
    assert page.values("class").count("cuts") == 1
    assert "SID: the trunk is cut into 3 stages" in page.words
    assert "layer2.0" in page.words
    assert "cuts" not in Page(single[0]).values("class")


def test_the_configuration_is_quoted_verbatim(single: tuple[str, str]) -> None:
    text, configuration = single
    assert "a <b> & c" in configuration
    assert configuration in Page(text).words


def test_rendering_twice_gives_the_same_page(make_run: Make, tmp_path: Path) -> None:
    run = make_run(status="interrupted", conflict=False)
    first, second = (render([run], tmp_path / name).read_bytes() for name in ("1.html", "2.html"))
    assert first == second


def test_an_existing_report_survives_a_failure(make_run: Make, tmp_path: Path) -> None:
    run, out = make_run(), tmp_path / "reports" / "report.html"
    out.parent.mkdir()
    out.write_text("the old one")
    (run / "samples.safetensors").write_text("damaged")
    with pytest.raises(RunError, match=r"samples\.safetensors"):
        render([run], out)
    assert out.read_text() == "the old one"
    assert list(out.parent.iterdir()) == [out]


def test_a_directory_is_no_file_to_write(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"report\.html"):
        render([make_run()], tmp_path)


def test_without_jinja_the_extra_is_named(make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(RunError, match=r"pip install 'torchsid\[report\]'"):
        render([make_run()], tmp_path / "report.html")


def test_importing_the_report_needs_neither_torch_nor_the_extra() -> None:
    heavy = "{'torch', 'matplotlib', 'jinja2', 'scipy', 'PIL'}"
    code = f"import sys, torchsid.show; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
@pytest.mark.parametrize("width", [380, 1200])
def test_the_page_does_not_overflow(make_run: Make, tmp_path: Path, width: int) -> None:
    long = ["a" * 40, "automobile", *"2345678"]
    runs = [make_run("a" * 40, names=long, noise=NOISE), make_run("b", names=long, label="Backprop " * 5)]
    text = render(runs, tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "report.html").write_text(re.sub(r"<meta http-equiv[^>]+>", "", text), encoding="utf-8")
    probe = """<!DOCTYPE html><iframe src="report.html" style="border: 0; width: %dpx; height: 900px"></iframe><script>
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
    assert height > 3000
