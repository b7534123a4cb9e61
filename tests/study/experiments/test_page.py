import importlib.util
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pyarrow import parquet
from tests.show.parsed import parsed
from tests.study.experiments.samples import AXIS, experiment, results

from torchsid.errors import RunError
from torchsid.show.tables import Table
from torchsid.study.experiments import page
from torchsid.study.experiments.experiment import Axis, ContenderConfig
from torchsid.study.experiments.grid import Job
from torchsid.study.experiments.page import (
    as_json,
    cost_table,
    difference_table,
    experiment_page,
    figures,
    limits_table,
    mean_table,
    method_table,
    tuning_table,
)
from torchsid.study.experiments.steps import StepCost
from torchsid.study.files import write_parquet
from torchsid.study.frame import Case

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
    found = results(SCORES, of=experiment(claim="<b>it is deep</b>", metrics=["kl", "kept"], by_stage=["accuracy", "kl"]))
    drawn = figures(found)
    whole = parsed(experiment_page(found, drawn).html())
    assert whole.sections == ["figures", "results", "tuning", "repeat"]
    assert "<b>it is deep</b>" in whole.words
    assert "torchsid experiment depth" in whole.words
    assert "A CPU" in whole.words
    assert [tag for tag, _ in whole.tags].count("svg") == len(drawn) == 4 + 2


def test_one_seed_announces_no_intervals_over_seeds() -> None:
    one, two = (experiment_page(results({("SID", "4"): own}), {}).sections[1].text for own in ([96.0], [96.0, 97.0]))
    assert "Student" not in one
    assert "one seed" in one
    assert "Student" in two


def test_means_and_differences_have_a_row_a_cell() -> None:
    found = results(SCORES)
    means, differences = rows(mean_table(found)), rows(difference_table(found, found.metrics))
    assert set(means) == set(SCORES)
    assert "95.25" in means["BP", "4"]["accuracy, last epoch, %"]
    assert set(differences) == {("BP", "4"), ("SID", "2"), ("BP", "2")}
    assert differences["BP", "4"]["Less"] == "SID at 4"
    assert differences["BP", "4"]["accuracy, last epoch, %"].startswith("−1.50 ")
    sure = results({("SID", "4"): [96.0, 97.5, 96.5], ("BP", "4"): [95.0, 96.4, 95.6]})
    assert "▼" in rows(difference_table(sure, ["accuracy"]))["BP", "4"]["accuracy, last epoch, %"]


def test_what_steps_cost_and_methods_wait_for_is_shown_where_it_was_measured_and_they_differ() -> None:
    contenders = {
        "BP": ContenderConfig(settings={"learner.name": "backprop"}),
        "FA": ContenderConfig(settings={"learner.name": "feedback-alignment", "model.network": "plain"}),
        "SID": ContenderConfig(),
    }
    about = experiment(axis=None, contenders=contenders, step_rounds=4)
    costs = {Case("BP"): StepCost((20.0, 18.0, 24.0), (1.0, 1.0, 1.0)), Case("SID"): StepCost((30.0, 29.0, 40.0), (1.5, 1.4, 1.6))}
    reached = {(name, ""): [96.0, 97.0] for name in contenders}
    found = results(reached, of=about, costs=costs)
    assert [[cell.value for cell in row] for row in cost_table(found).rows] == [["BP", "20.0", "1.00"], ["SID", "30.0", "1.50"]]
    waits = {row[0].value: [cell.value for cell in row[3:5]] for row in method_table(found).rows}
    every = "forward, update, backward"
    assert waits == {"BP": [every, "yes"], "FA": [every, "no"], "SID": ["forward", "no"]}
    page = experiment_page(found, {})
    assert [section.anchor for section in page.sections] == ["figures", "results", "methods", "tuning", "repeat"]
    assert [row["contender"] for row in as_json(found)["steps"]] == ["BP", "SID"]
    assert not method_table(results(SCORES)).rows


def test_the_tuning_shows_every_rate_and_marks_the_chosen() -> None:
    found = results(SCORES)
    table = tuning_table(found)
    assert table.columns == ("Contender", "stages L", "0.001", "0.002", "0.004")
    assert all([cell.detail for cell in row[2:]] == ["", "chosen", ""] for row in table.rows)
    diverged = results({("SID", "4"): [96.0]}, finished={}, diverged={Job(Case("SID", "4"), 0.001, 0): "NaN"})
    assert tuning_table(diverged).rows[0][2].value == "diverged"


def test_what_limits_an_experiment_is_listed() -> None:
    found = results(
        {("SID", "4"): [96.0], ("BP", "4"): [95.0, 96.0]},
        rates={Case("SID", "4"): 0.002, Case("BP", "4"): 0.004},
        diverged={Job(Case("BP", "4"), 0.001, 0): "NaN"},
        no_data={Case("BP", "32"): "no file"},
        not_run={Case("SID", "8"): 3},
    )
    limits = [row[1].value for row in limits_table(found).rows]
    assert limits == ["BP at 32: no file", "SID at 8: 3 runs", "bp-4-rate0.001-seed0", "BP at 4", "none", "SID at 4; BP at 4"]


@pytest.mark.parametrize("axis", [AXIS, NAMED])
def test_every_contender_is_drawn_along_the_axis(axis: Axis) -> None:
    first, second, *_ = experiment(axis=axis).points
    scores = {(name, point): [95.0, 96.0] for name in ("SID", "BP") for point in (first, second)}
    about = experiment(axis=axis, contenders={"SID": ContenderConfig(), "BP": ContenderConfig()})
    texts = {element.text for element in ElementTree.fromstring(figures(results(scores, of=about))["accuracy"].svg).iter("text")}
    assert {"SID", "BP", first, second} <= texts


def test_without_an_axis_accuracy_stands_against_what_it_costs() -> None:
    about = experiment(
        axis=None, contenders={"SID": ContenderConfig(), "BP": ContenderConfig(settings={"learner.name": "backprop"})}
    )
    assert set(figures(results({("SID", ""): [96.0, 97.0], ("BP", ""): [95.0, 96.0]}, of=about))) == {"kept", "seconds"}
    many = {f"SID {i}": ContenderConfig() for i in range(9)}
    found = results({(name, ""): [96.0, 97.0] for name in many}, of=experiment(axis=None, contenders=many))
    assert set(figures(found)) == set(found.metrics)
    assert set(many) <= {element.text for element in ElementTree.fromstring(figures(found)["accuracy"].svg).iter("text")}


def test_summary_figures_and_page_are_written_with_all_that_is_needed_to_judge(tmp_path: Path) -> None:
    given = results(SCORES)
    files = page.write(given, tmp_path / "out")
    assert files["report"].is_file()
    assert parquet.read_table(files["rows"]).to_pylist() == list(given.rows())
    assert {path.name for path in (tmp_path / "out").glob("*.svg")} == {"accuracy.svg", "best.svg"}
    found = json.loads(files["summary"].read_text())
    assert found["command"] == "torchsid experiment depth"
    assert found["versions"]["torch"] == "2.13.0"
    assert found["data"] == {"digits": {"digits.csv.gz": "cd" * 32}}
    (difference,) = [row for row in found["differences"] if (row["place"], row["metric"]) == (["BP", "4"], "accuracy")]
    assert (difference["paired"]["difference"], difference["paired"]["n"]) == (pytest.approx(-0.015), 2)
    assert difference["reference"] == ["SID", "4"]
    summary = next(row["metrics"]["accuracy"] for row in found["summary"] if (row["contender"], row["point"]) == ("SID", "2"))
    assert summary["by_seed"] == {"0": 0.9, "1": 0.91}
    assert (summary["bootstrap_low"], summary["bootstrap_high"]) == (0.9, 0.91)  # of two, their range
    assert summary["low"] < 0.9 < 0.91 < summary["high"]


def test_nothing_that_ran_has_a_summary_and_a_page(tmp_path: Path) -> None:
    files = page.write(results({}), tmp_path)
    assert json.loads(files["summary"].read_text())["finished"] is None
    assert "figures" not in parsed(files["report"].read_text()).sections


def test_missing_packages_are_named_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    page.check_packages()
    monkeypatch.setattr(page, "find_spec", lambda name: None if name == "pyarrow" else importlib.util.find_spec(name))
    with pytest.raises(RunError, match=r"pyarrow: pip install 'torchsid\[files\]'"):
        page.check_packages()


def test_what_a_row_lacks_is_null_and_what_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path, columns = tmp_path / "rows.parquet", {"name": "string", "seed": "int64", "kl": "float64"}
    write_parquet(path, [{"name": "a", "seed": 1, "kl": 0.5}, {"name": "b"}], columns)
    with pytest.raises(Exception, match="str"):
        write_parquet(path, [{"seed": "one"}], columns)
    assert parquet.read_table(path).to_pylist() == [{"name": "a", "seed": 1, "kl": 0.5}, {"name": "b", "seed": None, "kl": None}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.parquet"]
