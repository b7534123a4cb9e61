from dataclasses import replace

from tests.study.experiments.samples import experiment, record, result
from torchsid.show.record import RunRecord

from torchsid.study.experiments.experiment import Axis, Contender
from torchsid.study.experiments.findings import at_the_edge, notes, verdict
from torchsid.study.experiments.grid import Cell, Job
from torchsid.study.experiments.metrics import METRICS
from torchsid.study.experiments.result import Result

SAME, ALIKE, WORSE = [96.0, 97.0, 95.0], [96.2, 96.7, 95.1], [90.1, 91.0, 88.9]
TWO = {"SID": Contender(), "BP": Contender(settings={"learner.name": "backprop"})}
NO_AXIS = experiment(axis=None, contenders=TWO)


def test_no_difference_is_said_in_words() -> None:
    (sentence,) = verdict(result({("SID", ""): SAME, ("BP", ""): ALIKE}, of=NO_AXIS))
    assert sentence.startswith("BP against SID: no difference found (+0.00 points, 95\u00a0% interval −")
    assert sentence.endswith("3 seeds).")


def test_a_difference_is_said_with_its_interval() -> None:
    (sentence,) = verdict(result({("SID", ""): SAME, ("BP", ""): WORSE}, of=NO_AXIS))
    assert sentence.startswith("BP against SID: 6.00 points lower (95\u00a0% interval −6.")
    assert "after correction" not in sentence


def test_one_seed_has_no_verdict() -> None:
    (sentence,) = verdict(result({("SID", ""): [96.0], ("BP", ""): [95.0]}, of=NO_AXIS))
    assert sentence == "BP against SID: −1.00 points with one seed, which has no interval."


def test_along_an_axis_places_are_listed() -> None:
    about = experiment(contenders=TWO)
    scores = {("SID", "2"): SAME, ("BP", "2"): WORSE, ("SID", "4"): SAME, ("BP", "4"): ALIKE}
    first, second = verdict(result(scores, of=about, values=("2", "4")))
    assert first == "SID against stages L = 4: no difference found at stages L = 2."
    assert second == "BP against SID: lower at stages L = 2 (−6.00); no difference found at stages L = 4."


def test_a_difference_that_does_not_outlive_the_correction_says_so() -> None:
    about = experiment(contenders=TWO, axis=Axis(name="L", setting="model.depth", values=[2, 4, 8]))
    near = [value - 1.0 + wobble for value, wobble in zip(SAME, (0.0, 0.35, -0.35), strict=True)]  # p = 0.04
    scores = {(name, value): SAME for name in TWO for value in ("2", "4", "8")} | {("BP", "8"): near, ("BP", "4"): ALIKE}
    (sentence,) = verdict(result(scores, of=about, values=("2", "4", "8")))
    assert "lower at L = 8 (−1.00, p = 0.1" in sentence
    assert "after correction)" in sentence


def with_other(found: Result, contender: str, **other: list[float]) -> Result:
    """The result with other accuracies at the best epoch, or other KL, of one contender."""

    def changed(job: Job, run: RunRecord) -> RunRecord:
        if job.cell.contender != contender:
            return run
        values = {name: own[job.seed] for name, own in other.items()}
        accuracy = METRICS["accuracy"].of(run)
        assert accuracy is not None
        kl = (2.3, 0.5, values.get("kl", 0.4))
        return record(job.seed, accuracy / 100, best=values.get("best", accuracy) / 100, kl=kl)

    return replace(found, runs={job: changed(job, run) for job, run in found.runs.items()})


def test_another_conclusion_at_the_best_epoch_is_said() -> None:
    scores = {(name, value): SAME for name in TWO for value in ("2", "4", "8")}
    about = experiment(contenders=TWO, axis=Axis(name="L", setting="model.depth", values=[2, 4, 8]))
    found = result(scores | {("BP", "8"): WORSE}, of=about, values=("2", "4", "8"))
    assert len(verdict(found)) == 1
    (_, sentence) = verdict(with_other(found, "BP", best=WORSE))
    expected = "BP against SID, lower instead of no difference found at L = 2 and 4"
    assert sentence == f"The best epoch by validation leads to another conclusion: {expected}."


def test_other_metrics_are_told_where_they_are_sure() -> None:
    about = experiment(axis=None, contenders=TWO, metrics=["kl", "speed"])
    found = result({("SID", ""): SAME, ("BP", ""): SAME}, of=about)
    assert len(verdict(found)) == 1
    sure, doubtful = ([0.61, 0.6, 0.59], [0.3, 0.6, 0.5])
    (_, sentence) = verdict(with_other(found, "BP", kl=sure))
    assert sentence == "KL of the last stage, after correction: BP against SID, higher."
    assert len(verdict(with_other(found, "BP", kl=doubtful))) == 1


def test_beside_the_axis_the_value_compared_with_is_named() -> None:
    scores = {("SID", "4"): SAME, ("flat", ""): WORSE}
    (sentence,) = verdict(result(scores, values=("4",)))
    assert sentence.startswith("flat against SID at stages L = 4: 6.00 points lower")


def test_nothing_to_compare() -> None:
    assert verdict(result({("SID", ""): SAME}, of=experiment(axis=None, contenders={"SID": Contender()}))) == [
        "Nothing to compare: no two cells have a seed in common."
    ]


def test_notes_say_what_limits_the_result() -> None:
    found = result({("SID", ""): [96.0], ("BP", ""): [95.0]}, of=NO_AXIS)
    job = Job(Cell("BP"), 0.004, 0)
    text = " ".join(notes(replace(found, dropped=("2 of 3 seeds (1, 2)",), missing=("MNIST",), failed={job: "NaN"})))
    assert "Left out: MNIST." in text
    assert "left out 2 of 3 seeds (1, 2)" in text
    assert f"1 run diverged: {job.directory}." in text
    assert "One seed" in text
    assert "several processes" not in text


def test_several_processes_are_noted() -> None:
    about = experiment(axis=None, contenders={"SID": Contender(), "ahead": Contender(workers=2)})
    assert notes(result({("SID", ""): SAME, ("ahead", ""): ALIKE}, of=about)) == [
        "Trained under torchrun, by several processes: ahead (2)."
    ]


def test_rates_at_the_edge_of_the_grid_are_named() -> None:
    found = result({("SID", ""): SAME, ("BP", ""): ALIKE}, of=NO_AXIS)
    assert at_the_edge(found) == []
    assert at_the_edge(replace(found, rates={Cell("SID"): 0.001, Cell("BP"): 0.002})) == ["SID"]


def test_many_cells_at_the_edge_are_counted() -> None:
    found = result({("SID", value): [96.0] for value in ("2", "4", "8", "16", "32")} | {("BP", "2"): [95.0], ("BP", "4"): [95.0]})
    at_the_end = replace(found, rates=dict.fromkeys(found.rates, 0.001))
    assert "for 7 of 7 cells (see the table of tuning)" in " ".join(notes(at_the_end))
