from dataclasses import replace

from tests.study.experiments.samples import experiment, record, result

from torchsid.study.experiments.experiment import Axis, Contender
from torchsid.study.experiments.figures import figures

SCORES = {("SID", "4"): [96.0, 97.5], ("SID", "2"): [90.0, 91.0], ("flat", ""): [88.0, 88.5]}


def test_one_figure_a_metric_that_was_measured() -> None:
    about = experiment(metrics=["kl", "cosine"])
    found = figures(result(SCORES, of=about, values=("2", "4")))
    assert list(found) == ["accuracy", "best", "kl"]  # no run recorded cosines
    assert found["accuracy"].title == "Accuracy, last epoch, %, against stages L"
    assert "SID: 90.5 at 2, 96.8 at 4; BP: not measured; flat: 88.2 throughout" in found["accuracy"].svg


def test_points_are_named() -> None:
    axis = Axis(name="data", points={"a": {}, "b": {"data.limit": 100}})
    about = experiment(axis=axis, contenders={"SID": Contender()})
    assert (
        "90.5 at a, 96.8 at b"
        in figures(result({("SID", "a"): [90.0, 91.0], ("SID", "b"): [96.0, 97.5]}, of=about))["accuracy"].svg
    )


def test_a_single_value_is_no_axis() -> None:
    assert list(figures(result({("SID", "4"): [96.0, 97.5]}, values=("4",)))) == ["tradeoff"]


def test_by_stage_is_drawn_at_the_last_value_with_a_level_for_one_stage() -> None:
    about = experiment(by_stage=["kl"])
    found = figures(result({**SCORES, ("BP", "4"): [95.0, 95.5]}, of=about, values=("2", "4")))
    assert list(found) == ["accuracy", "best", "kl-by-stage"]
    assert found["kl-by-stage"].title == "KL(label ‖ belief), nats, against stage, at stages L = 4"
    assert "SID: 0.500 at 1, 0.400 at 2; BP: 0.500 at 1, 0.400 at 2" in found["kl-by-stage"].svg


def test_of_many_stages_powers_of_two_and_the_last_are_drawn() -> None:
    deep = tuple(1 / stage for stage in range(1, 22))  # the prior and 20 stages
    found = result({("SID", "4"): [96.0, 97.0]}, of=experiment(by_stage=["kl"]), values=("2", "4"))
    runs = {job: record(job.seed, 0.9, kl=deep) for job in found.runs}
    svg = figures(replace(found, runs=runs))["kl-by-stage"].svg
    assert "SID: 0.500 at 1, 0.333 at 2, 0.200 at 4, 0.111 at 8, 0.0588 at 16, 0.0476 at 20" in svg


def test_one_stage_alone_is_a_level() -> None:
    found = result({("SID", "4"): [96.0, 97.0], ("flat", ""): [90.0, 91.0]}, of=experiment(by_stage=["kl"]), values=("2", "4"))
    runs = {job: record(job.seed, 0.9, kl=(2.3, 0.7)) if job.cell.contender == "flat" else run for job, run in found.runs.items()}
    assert "flat: 0.700 throughout" in figures(replace(found, runs=runs))["kl-by-stage"].svg
