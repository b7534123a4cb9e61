import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from torchsid.errors import RunError
from torchsid.show.audit import Suspect, render_audit


def suspect(*, label: str = "cat", suggested: str = "dog", true: str | None = None) -> Suspect:
    return Suspect(
        image=np.zeros((3, 4, 4), dtype=np.uint8),
        row="71",
        label=label,
        suggested=suggested,
        true=true,
        score="-0.500",
        agrees="never",
        given_belief=np.array([0.5, 0.25, 0.0]),
        suggested_belief=np.array([0.5, 0.25, 1.0]),
    )


def page(tmp_path: Path, *suspects: Suspect) -> str:
    out = tmp_path / "page.html"
    about = {"title": "pets", "subtitle": "Run <one>", "command": "torchsid audit one"}
    assert render_audit(suspects, out, sentences=["1 of 9 labels is disputed"], **about) == out
    return out.read_text(encoding="utf-8")


def test_bands_are_as_high_as_the_beliefs_and_never_meet() -> None:
    found = suspect()
    assert found.given_band == "0.0,84.0 0.0,42.0 150.0,63.0 300.0,84.0 300.0,84.0"
    assert found.suggested_band == "0.0,0.0 0.0,42.0 150.0,21.0 300.0,84.0 300.0,0.0"
    assert found.spoken == "Belief from the prior to the last stage: in cat 50 %, 25 %, 0 %; in dog 50 %, 25 %, 100 %"


def test_a_label_that_is_not_disputed_has_one_band(tmp_path: Path) -> None:
    agreed = suspect(suggested="cat")
    assert not agreed.disputed
    assert "dog" not in agreed.spoken
    assert page(tmp_path, agreed).count("<polygon") == 1
    assert page(tmp_path, suspect(), agreed).count("<polygon") == 3


def test_the_page_is_complete_in_itself_and_well_formed(tmp_path: Path) -> None:
    text = page(tmp_path, suspect(true="<b>dog</b>"), suspect(label="a & b"))
    assert not re.search(r"<script|src=\"(?!data:)|href=\"http|@import", text)
    assert "Run &lt;one&gt;" in text
    assert "<li>1 of 9 labels is disputed.</li>" in text
    assert "row 71 · score −0.500 · agrees: never · true: &lt;b&gt;dog&lt;/b&gt;" in text
    assert text.count('src="data:image/png;base64,') == 2
    ElementTree.fromstring(text[text.index("<body>") : text.index("</html>")])


def test_what_nobody_knows_is_not_shown(tmp_path: Path) -> None:
    assert "true:" not in page(tmp_path, suspect())


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere.page\.html"):
        page(tmp_path / "nowhere", suspect())
