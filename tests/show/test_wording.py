from math import inf, nan

import pytest

from torchsid.show import comparison, headline, summary_table
from torchsid.show.wording import duration, kl_by_stage, listing, mebibytes, number, percent, points, thrift

from .conftest import Make


@pytest.mark.parametrize(
    ("kl", "said"),
    [
        ([2.3, 1.2, 0.5, 0.25], "KL falls at every one of the 3 stages, from 2.30 nats at the prior to 0.250"),
        ([2.3, 1.2, 1.3, 1.1, 1.15], "KL rises at stages 2 and 4 of 4, and goes from 2.30 nats at the prior to 1.15"),
        ([2.3, 2.4, 1.0], "KL rises at stage 1 of 2, and goes from 2.30 nats at the prior to 1.00"),
        ([2.3, 0.5], "KL goes from 2.30 nats at the prior to 0.500 in one step, there being no stages in between"),
        ([2.3, inf], "KL is not finite at every stage"),
    ],
)
def test_kl_by_stage_says_what_the_numbers_say(kl: list[float], said: str) -> None:
    assert kl_by_stage(kl) == said


def test_a_stage_that_leaves_kl_as_it_was_does_not_rise() -> None:
    assert "falls at every one" in kl_by_stage([1.0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("seconds", "said"), [(8.44, "8.4 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (59.99, "60.0 s"), (3600, "1 h 00 min")]
)
def test_duration(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"), [(1234.5, "1,234"), (0.18642, "0.186"), (15.0, "15.0"), (nan, "unknown"), (inf, "infinite")]
)
def test_number(value: float, said: str) -> None:
    assert number(value) == said


def test_shares_and_points() -> None:
    assert percent(0.97221) == "97.22\u00a0%"
    assert percent(nan) == "unknown"
    assert (points(0.0139), points(-0.0139)) == ("+1.39", "−1.39")


def test_listing() -> None:
    assert [listing([1]), listing([1, 4]), listing([1, 4, 7])] == ["1", "1 and 4", "1, 4 and 7"]


def test_headline_of_one_run(make_run: Make) -> None:
    result = comparison([make_run()])
    score = result.rows[0].chosen
    assert score is not None
    said = headline(result)
    assert said.startswith(f"SID reaches {percent(score.accuracy.mean)} test accuracy (95\u00a0% interval ")
    assert said.endswith("360 images, one seed).")


def test_headline_says_when_a_difference_may_be_none(make_run: Make) -> None:
    same = headline(comparison([make_run("a"), make_run("b", label="Backprop")]))
    assert "includes zero" in same
    far = headline(comparison([make_run("c"), make_run("d", label="Backprop", error=0.4)]))
    assert "points below SID (paired over 360 test samples" in far
    assert "includes zero" not in far


def test_headline_of_seeds(make_run: Make) -> None:
    runs = [make_run(f"{label}{seed}", label=label, seed=seed) for label in ("SID", "Backprop") for seed in (0, 1)]
    assert "2 seeds" in headline(comparison(runs))
    assert "paired over 2 seeds" in headline(comparison(runs))


def test_headline_without_any_evaluation(make_run: Make) -> None:
    assert headline(comparison([make_run(status="running")])) == "No run has been evaluated yet."


def test_headline_when_the_reference_is_unfinished(make_run: Make) -> None:
    said = headline(comparison([make_run("a", status="running"), make_run("b", label="Backprop")]))
    assert said.startswith("Backprop reaches ")


def test_summary_table_has_one_cell_a_column(make_run: Make) -> None:
    table = summary_table(comparison([make_run("a"), make_run("b", label="Backprop"), make_run("c", label="X", depth=1)]))
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert [row[0].value for row in table.rows] == ["SID", "Backprop", "X"]
    assert table.rows[2][-1].value == "not applicable"


def test_summary_table_of_one_method_has_no_difference(make_run: Make) -> None:
    table = summary_table(comparison([make_run(status="interrupted")]))
    assert "Difference" not in table.columns
    assert table.rows[0][table.columns.index("Accuracy, best")].value == "–"


def test_thrift_says_what_the_memory_saved_costs(make_run: Make) -> None:
    full, half = make_run("a", label="Backprop", error=0.02), make_run("b", error=0.4, kept_bytes=12_582_912)
    assert mebibytes(25_165_824) == "24.0 MiB"
    said = thrift(comparison([full, half]))
    assert said.startswith("SID keeps the least for backward, 12.0 MiB a step or 0.50 of the 24.0 MiB of Backprop, and reaches ")
    assert "test accuracy after the last epoch" in said
    assert "points below Backprop (paired over 360 test samples" in said
    assert "no difference found" not in said
    said = thrift(comparison([half, full]))
    assert said.startswith(
        "No other method keeps less for backward than SID, 12.0 MiB a step; Backprop keeps 24.0 MiB and reaches "
    )


def test_thrift_says_when_no_difference_is_found(make_run: Make) -> None:
    runs = [make_run("a", label="Backprop"), make_run("b", label="Backprop 2", kept_bytes=12_582_912)]
    assert ", no difference found: " in thrift(comparison(runs))


def test_thrift_has_nothing_to_say_about_older_runs(make_run: Make) -> None:
    assert thrift(comparison([make_run("a"), make_run("b", label="Backprop", kept_bytes=None)])) == ""
    assert thrift(comparison([make_run("c")])) == ""
