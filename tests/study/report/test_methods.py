from pathlib import Path

from tests.study.fake import Make

from torchsid.study.report.methods import gather
from torchsid.study.runs import load_run


def names(*paths: Path) -> list[str]:
    return [method.name for method in gather([load_run(path) for path in paths])]


def test_runs_that_differ_in_their_seed_are_one_method_ordered_by_seed(make_run: Make) -> None:
    runs = [load_run(make_run(f"run-{seed}", seed=seed)) for seed in (2, 0, 1)]
    (method,) = gather(runs)
    assert [run.seed for run in method.runs] == [0, 1, 2]


def test_what_does_not_change_the_training_does_not_make_a_method(make_run: Make) -> None:
    settings = {"watch.conflict": True, "training.tensorboard": True, "training.threads": 4, "distributed.queue": 3}
    assert names(make_run("a"), make_run("b", seed=1, settings=settings)) == ["SID"]


def test_methods_keep_the_order_given(make_run: Make) -> None:
    assert names(make_run("b", label="Backprop"), make_run("a")) == ["Backprop", "SID"]


def test_the_same_label_is_told_apart_by_the_settings_that_differ_if_they_are_few(make_run: Make) -> None:
    a, b = (make_run(f"run-{alpha}", settings={"learner.alpha": alpha}) for alpha in (0.5, 0.7))
    assert names(a, b) == ["SID (alpha = 0.5)", "SID (alpha = 0.7)"]
    other = make_run("much", settings={f"model.setting_{k}": k for k in range(9)})
    assert names(a, other) == ["SID (alpha = 0.5)", "SID (much)"]


def test_a_repeated_seed_keeps_its_runs_apart_by_directory(make_run: Make) -> None:
    assert names(make_run("monday"), make_run("tuesday")) == ["SID (monday)", "SID (tuesday)"]


def test_the_example_is_the_evaluated_run_of_the_lowest_seed(make_run: Make) -> None:
    runs = [load_run(make_run("a", seed=0, status="running")), load_run(make_run("b", seed=1))]
    (method,) = gather(runs)
    assert method.example is runs[1]
