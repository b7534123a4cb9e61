from tests.experiments.samples import experiment, result
from torchsid.experiments.figures import figures
from torchsid.experiments.plan import Axis, Contender

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
