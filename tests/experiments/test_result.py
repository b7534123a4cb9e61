from tests.experiments.samples import experiment, result
from torchsid.experiments.grid import Cell, Job
from torchsid.experiments.result import COLUMNS, Trial, chosen_rates, tidy


def test_the_best_validation_accuracy_chooses_and_the_first_of_equals() -> None:
    def trial(rate: float, accuracy: float | None, cell: str = "SID") -> Trial:
        return Trial(Job(Cell(cell), rate, 0), accuracy)

    trials = (trial(0.1, None), trial(0.2, 0.5), trial(0.3, 0.7), trial(0.4, 0.7), trial(0.1, None, "BP"), trial(0.2, 0.0, "flat"))
    assert chosen_rates(trials) == {Cell("SID"): 0.3, Cell("flat"): 0.2}


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
