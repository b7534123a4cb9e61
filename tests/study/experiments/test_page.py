import re
from dataclasses import replace
from xml.etree import ElementTree

from tests.study.experiments.samples import experiment, result

from torchsid.study.experiments.figures import figures
from torchsid.study.experiments.page import render, summary_table, tuning_table

SCORES = {("SID", "4"): [96.0, 97.5], ("BP", "4"): [95.0, 96.0], ("SID", "2"): [90.0, 91.0], ("BP", "2"): [90.5, 89.0]}


def test_the_page_is_complete_in_itself() -> None:
    found = result(SCORES, values=("2", "4"), of=experiment(claim="<b>it is deep</b>"))
    page = render(found, figures(found))
    assert "<h1>How deep?</h1>" in page
    assert "The claim: &lt;b&gt;it is deep&lt;/b&gt;" in page
    assert "torchsid experiment depth" in page
    assert page.count("<svg") == 2
    assert "a processor" in page
    assert not re.search(r"<script|src=|href=\"http|@import", page)


def test_the_page_is_well_formed() -> None:
    found = result(SCORES, values=("2", "4"))
    page = render(found, figures(found))
    body = page[page.index("<body>") : page.index("</html>")]
    ElementTree.fromstring(body)


def test_rows_have_intervals_differences_and_seeds() -> None:
    table = summary_table(result(SCORES, values=("2", "4")))
    rows = {(row[0].value, row[1].value): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    cell = rows["BP", "4"]
    assert cell["Contender"].detail == "n = 2"
    assert cell["accuracy, last epoch, %"].value == "95.50"
    assert cell["Difference, last"].value == "−1.25"
    assert cell["Difference, last"].detail.endswith(": none found")
    assert rows["SID", "4"]["Difference, last"].value == "–"


def test_the_tuning_shows_every_rate_and_marks_the_chosen() -> None:
    found = result(SCORES, values=("2", "4"))
    table = tuning_table(found)
    assert table.columns == ("Contender", "stages L", "0.001", "0.002", "0.004")
    assert all([cell.detail for cell in row[2:]] == ["", "chosen", ""] for row in table.rows)
    diverged = replace(found, trials=(replace(found.trials[0], validation=None), *found.trials[1:]))
    assert tuning_table(diverged).rows[0][2].value == "diverged"
