from dataclasses import replace
from xml.etree import ElementTree

import pytest
from tests.show.parsed import parsed
from tests.study.experiments.samples import AXIS, analysis, experiment

from torchsid.show.tables import Table
from torchsid.study.experiments.experiment import Axis, Contender
from torchsid.study.experiments.grid import Cell, Job
from torchsid.study.experiments.page import difference_table, experiment_page, figures, limits_table, mean_table, tuning_table

SCORES = {("SID", "4"): [96.0, 97.5], ("BP", "4"): [95.0, 95.5], ("SID", "2"): [90.0, 91.0], ("BP", "2"): [90.5, 89.0]}
NAMED = Axis(name="labels", points={"clean <1>": {"data.limit": 9}, "wrong": {"data.limit": 8}})


def rows(table: Table) -> dict[tuple[str, str], dict[str, str]]:
    return {
        (row[0].value, row[1].value): {
            column: " ".join(filter(None, cell)) for column, cell in zip(table.columns, row, strict=True)
        }
        for row in table.rows
    }


def test_the_page_is_whole() -> None:
    found = analysis(SCORES, of=experiment(claim="<b>it is deep</b>", metrics=["kl", "kept"], by_stage=["accuracy", "kl"]))
    drawn = figures(found)
    page = parsed(experiment_page(found, drawn).html())
    assert page.sections == ["figures", "results", "tuning", "repeat"]
    assert "<b>it is deep</b>" in page.words
    assert "torchsid experiment depth" in page.words
    assert "a processor" in page.words
    assert [tag for tag, _ in page.tags].count("svg") == len(drawn) == 4 + 2


def test_means_and_differences_have_a_row_a_cell() -> None:
    found = analysis(SCORES)
    means, differences = rows(mean_table(found)), rows(difference_table(found, found.metrics))
    assert list(means) == list(SCORES)
    assert "95.25" in means["BP", "4"]["accuracy, last epoch, %"]
    assert list(differences) == [("BP", "4"), ("SID", "2"), ("BP", "2")]
    assert differences["BP", "4"]["Less"] == "SID at 4"
    assert differences["BP", "4"]["accuracy, last epoch, %"].startswith("−1.50 ")
    sure = analysis({("SID", "4"): [96.0, 97.5, 96.5], ("BP", "4"): [95.0, 96.4, 95.6]})
    assert "▼" in rows(difference_table(sure, ["accuracy"]))["BP", "4"]["accuracy, last epoch, %"]


def test_the_tuning_shows_every_rate_and_marks_the_chosen() -> None:
    found = analysis(SCORES)
    table = tuning_table(found)
    assert table.columns == ("Contender", "stages L", "0.001", "0.002", "0.004")
    assert all([cell.detail for cell in row[2:]] == ["", "chosen", ""] for row in table.rows)
    first = next(iter(found.tried))
    diverged = replace(found, tried={**found.tried, first: None})
    assert tuning_table(diverged).rows[0][2].value == "diverged"


def test_what_limits_an_experiment_is_listed() -> None:
    found = analysis(
        {("SID", "4"): [96.0], ("BP", "4"): [95.0, 96.0]},
        rates={Cell("SID", "4"): 0.002, Cell("BP", "4"): 0.004},
        diverged={Job(Cell("BP", "4"), 0.001, 0): "NaN"},
        no_data={Cell("BP", "32"): "no file"},
        not_run={Cell("SID", "8"): 3},
    )
    limits = [row[1].value for row in limits_table(found).rows]
    assert limits == ["BP at 32: no file", "SID at 8: 3 runs", "bp-4-rate0.001-seed0", "BP at 4", "none", "SID at 4"]


@pytest.mark.parametrize("axis", [AXIS, NAMED])
def test_every_contender_is_drawn_along_the_axis(axis: Axis) -> None:
    first, second, *_ = axis.names()
    scores = {(name, point): [95.0, 96.0] for name in ("SID", "BP") for point in (first, second)}
    about = experiment(axis=axis, contenders={"SID": Contender(), "BP": Contender()})
    texts = {element.text for element in ElementTree.fromstring(figures(analysis(scores, of=about))["accuracy"].svg).iter("text")}
    assert {"SID", "BP", first, second} <= texts


def test_without_an_axis_accuracy_stands_against_what_it_costs() -> None:
    about = experiment(axis=None, contenders={"SID": Contender(), "BP": Contender(settings={"learner.name": "backprop"})})
    assert set(figures(analysis({("SID", ""): [96.0, 97.0], ("BP", ""): [95.0, 96.0]}, of=about))) == {"kept", "seconds"}


def test_nothing_that_ran_has_a_page() -> None:
    found = analysis({})
    page = parsed(experiment_page(found, figures(found)).html())
    assert "figures" not in page.sections
