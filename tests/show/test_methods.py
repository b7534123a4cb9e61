from torchsid.show import load_run
from torchsid.show.methods import gather

from .conftest import Make


def names(*paths: object) -> list[str]:
    return [method.name for method in gather([load_run(path) for path in paths])]  # type: ignore[arg-type]


def test_runs_that_differ_in_their_seed_are_one_method_ordered_by_seed(make_run: Make) -> None:
    runs = [load_run(make_run(f"run-{seed}", seed=seed)) for seed in (2, 0, 1)]
    (method,) = gather(runs)
    assert [run.seed for run in method.runs] == [0, 1, 2]


def test_what_does_not_change_the_training_does_not_make_a_method(make_run: Make) -> None:
    settings = {"training.conflict": True, "training.tensorboard": True, "training.threads": 4}
    assert names(make_run("a"), make_run("b", seed=1, settings=settings)) == ["SID"]


def test_methods_keep_the_order_given(make_run: Make) -> None:
    assert names(make_run("b", label="Backprop"), make_run("a")) == ["Backprop", "SID"]


def test_the_same_label_is_told_apart_by_the_setting_that_differs(make_run: Make) -> None:
    a, b = (make_run(f"run-{alpha}", settings={"learner.alpha": alpha}) for alpha in (0.5, 0.7))
    assert names(a, b) == ["SID (alpha = 0.5)", "SID (alpha = 0.7)"]


def test_a_repeated_seed_keeps_its_runs_apart_by_directory(make_run: Make) -> None:
    assert names(make_run("monday"), make_run("tuesday")) == ["SID (monday)", "SID (tuesday)"]


def test_the_example_is_the_evaluated_run_of_the_lowest_seed(make_run: Make) -> None:
    runs = [load_run(make_run("a", seed=0, status="running")), load_run(make_run("b", seed=1))]
    (method,) = gather(runs)
    assert method.example is runs[1]
    assert method.evaluated == (runs[1],)
