from tests.study.experiments.samples import experiment, result

from torchsid.study.experiments.grid import Cell, Job
from torchsid.study.experiments.result import COLUMNS, Trial, chosen_rates, tidy, trial


def test_the_best_validation_accuracy_chooses_and_of_equals_the_least_divergence_then_the_first() -> None:
    def trial(rate: float, accuracy: float | None, kl: float | None = 1.0, cell: str = "SID") -> Trial:
        return Trial(Job(Cell(cell), rate, 0), accuracy, kl)

    trials = (
        *(trial(0.1, None), trial(0.2, 0.5, 0.1), trial(0.3, 0.7), trial(0.4, 0.7, 0.9), trial(0.5, 0.7, 0.9)),
        *(trial(0.1, None, cell="BP"), trial(0.2, 0.0, cell="flat"), trial(0.1, 0.5, None, cell="old")),
    )
    assert chosen_rates(trials) == {Cell("SID"): 0.4, Cell("flat"): 0.2, Cell("old"): 0.1}


def test_a_trial_reads_the_validation_images_and_a_diverged_one_nothing() -> None:
    job, run = next(iter(result({("SID", "4"): [96.0]}, values=("4",)).runs.items()))
    assert run.last
    assert run.last.validation
    assert trial(job, run) == Trial(job, run.last.validation.accuracy[-1], run.last.validation.kl[-1])
    assert trial(job, None) == Trial(job, None, None)


def test_tidy_has_a_row_for_run_weights_split_and_stage() -> None:
    rows = list(tidy(result({("SID", "4"): [96.0, 97.0]}, values=("4",))))
    results = [row for row in rows if row["phase"] == "result"]
    assert len(results) == 2 * 2 * 2 * 2
    (one,) = [row for row in results if (row["seed"], row["weights"], row["split"], row["stage"]) == (1, "last", "test", 2)]
    assert (one["contender"], one["value"], one["x"], one["accuracy"], one["kl"]) == ("SID", "4", 4.0, 0.97, 0.4)
    assert {key for row in rows for key in row} == set(COLUMNS)


def test_of_rates_that_were_not_chosen_validation_alone_is_told() -> None:
    rows = list(tidy(result({("SID", "4"): [96.0]}, values=("4",))))
    tuning = [row for row in rows if row["phase"] == "tuning"]
    assert [row["rate"] for row in tuning] == experiment().rates
    assert {row["split"] for row in tuning} == {"validation"}
