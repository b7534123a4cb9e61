import re
import subprocess
from pathlib import Path

import pytest

from tests.show.test_page import CHROMIUM, Page
from torchsid.errors import RunError
from torchsid.show.certificate.page import render
from torchsid.show.certificate.part import Part

from .conftest import PartOf, SubjectOf

ALWAYS = ["statements", "failures", "classes", "calibration"]
HOSTILE = ("<b>", "a & b", '"$x$"', "d" * 60)


def text_of(subject_of: SubjectOf, parts: list[Part], out: Path, **subject: object) -> str:
    return render(subject_of(**subject), parts, out).read_text(encoding="utf-8")


def sections(text: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', text)


@pytest.fixture(scope="module")
def everything(part_of: PartOf, subject_of: SubjectOf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three splits with wrong labels, and its figures beside it."""
    directory = tmp_path_factory.mktemp("everything")
    parts = [part_of("train", wrong=15), part_of("validation", count=50, wrong=5), part_of("test", count=60)]
    return render(subject_of(), parts, directory / "deep" / "page.html", figures=directory / "figures")


def test_the_page_is_complete_in_itself(everything: Path) -> None:
    page = Page(text := everything.read_text(encoding="utf-8"))
    assert sections(text) == [*ALWAYS, "triangle", "flips", "noise", "beliefs"]
    assert [f"#{anchor}" for anchor in sections(text)] == re.findall(r'<a href="([^"]*)">', text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert not re.search(r"https?://|url\([^#]", text)
    assert [path.name for path in everything.parent.iterdir()] == ["page.html"]


def test_whoever_cannot_see_the_page_can_read_it(everything: Path) -> None:
    page = Page(text := everything.read_text(encoding="utf-8"))
    assert all(page.values("alt"))
    assert all('role="img"' in svg and "aria-label" in svg for svg in re.findall(r"<svg [^>]*>", text))
    identifiers = page.values("id")
    assert len(set(identifiers)) == len(identifiers)


def test_one_certificate_is_open_and_the_others_are_folded_away(everything: Path) -> None:
    text = everything.read_text(encoding="utf-8")
    assert "<h3>test, held-out labels, n = 60</h3>" in text
    assert len(re.findall(r'<details class="set">', text)) == 4


def test_figures_are_written_as_files(everything: Path) -> None:
    files = {path.stem: path.read_text(encoding="utf-8") for path in (everything.parents[1] / "figures").iterdir()}
    assert {"fates", "triangle", "classes", "settling", "premise-train-clean", "bound-train-training"} <= files.keys()
    assert all(text.startswith("<svg xmlns=") for text in files.values())


def test_names_are_text_and_large_images_smooth(part_of: PartOf, subject_of: SubjectOf, tmp_path: Path) -> None:
    text = text_of(subject_of, [part_of("train", size=65, channels=3)], tmp_path / "page.html", names=HOSTILE)
    page = Page(text)
    assert "b" not in {tag for tag, _ in page.tags}
    assert "&lt;b&gt;" in text
    assert "<b>" in page.words
    assert '<body class="smooth">' in text
    assert sections(text) == [*ALWAYS, "triangle", "flips", "beliefs"]  # no chapter on noise without noise


@pytest.mark.parametrize(
    ("depth", "num_classes", "expected"),
    [
        (1, 4, [*ALWAYS, "triangle", "beliefs"]),
        (2, 2, [*ALWAYS, "flips", "beliefs"]),
        (3, 100, [*ALWAYS, "triangle", "flips", "beliefs"]),
        (64, 4, [*ALWAYS, "triangle", "flips", "beliefs"]),
    ],
)
def test_any_depth_and_number_of_classes(
    part_of: PartOf, subject_of: SubjectOf, tmp_path: Path, depth: int, num_classes: int, expected: list[str]
) -> None:
    names = [f"class {place}" for place in range(num_classes)]
    part = part_of(depth=depth, num_classes=num_classes, count=60)
    text = text_of(subject_of, [part], tmp_path / "page.html", names=names, depth=depth)
    Page(text)
    assert sections(text) == expected
    assert ("Table of the 64 stages" in text) == (depth == 64)
    assert ('class="strip thin"' in text) == (depth == 64)  # so many changes have no room for words


def test_everything_right_at_once(part_of: PartOf, subject_of: SubjectOf, tmp_path: Path) -> None:
    truth = [0, 1, 2, 3]
    text = text_of(subject_of, [part_of(count=4, answers=[truth] * 3, truth=truth)], tmp_path / "page.html")
    assert "<body>" in text  # four pixels a side are shown as they are
    assert "KL rises at no stage" in text
    assert "No answer changes" in text


def test_a_directory_is_no_file(part_of: PartOf, subject_of: SubjectOf, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is a directory; name the file.*certificate\.html"):
        render(subject_of(), [part_of()], tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
def test_long_names_do_not_overflow_a_telephone(part_of: PartOf, subject_of: SubjectOf, tmp_path: Path) -> None:
    text = text_of(subject_of, [part_of("train", wrong=15)], tmp_path / "page.html", names=["a" * 60, "automobile", "c", "d"])
    (tmp_path / "page.html").write_text(re.sub(r"<meta http-equiv[^>]+>", "", text), encoding="utf-8")
    probe = """<!DOCTYPE html><iframe src="page.html" style="border: 0; width: 380px; height: 900px"></iframe><script>
    onload = () => { const page = document.querySelector("iframe").contentDocument.documentElement;
    document.title = [page.clientWidth, page.scrollWidth, page.scrollHeight].join(" "); }</script>"""
    (tmp_path / "probe.html").write_text(probe)
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    command += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000"]
    result = subprocess.run([*command, (tmp_path / "probe.html").as_uri()], capture_output=True, text=True, timeout=60)
    title = re.search(r"<title>(\d+) (\d+) (\d+)</title>", result.stdout)
    assert title, result.stderr
    shown, needed, height = map(int, title.groups())
    assert 360 <= shown <= 380
    assert needed <= shown
    assert height > 3000
