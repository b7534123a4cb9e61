from pathlib import Path

import pytest
from tests.study.experiments.samples import experiment
from tests.study.fake import maker

from torchsid.errors import RunError
from torchsid.study.experiments import Results
from torchsid.study.experiments.grid import Cell, Job
from torchsid.study.experiments.results import COLUMNS, validation_of
from torchsid.study.runs import load_run

CHOSEN, OTHER = Job(Cell("SID", "4"), 0.002, 1), Job(Cell("SID", "4"), 0.001, 1)


def test_a_row_for_every_number_and_of_rates_that_were_not_chosen_validation_alone(tmp_path: Path) -> None:
    path = maker(tmp_path)(depth=2, epochs=3)
    nothing: dict[str, object] = {"diverged": {}, "no_data": {}, "not_run": {}}
    runs, rates = {CHOSEN: path, OTHER: path}, {CHOSEN.cell: CHOSEN.rate}
    rows = list(Results(experiment=experiment(), runs=runs, rates=rates, **nothing).rows())  # type: ignore[arg-type]
    assert all(list(row) == list(COLUMNS) for row in rows)
    (one,) = [row for row in rows if (row["chosen"], row["split"], row["stage"], row["metric"]) == (True, "test", 2, "kl")][1:]
    about = {"contender": "SID", "point": "4", "rate": 0.002, "seed": 1, "chosen": True, "run": CHOSEN.directory}
    place = {"weights": "last", "split": "test", "stage": 2, "epoch": None, "metric": "kl"}
    assert one == {**about, **place, "value": load_run(path).scores["last", "test"].last("kl")}
    assert [row["value"] for row in rows if row["metric"] == "kept" and row["chosen"]] == [25_165_824]
    assert {(row["weights"], row["split"]) for row in rows if not row["chosen"]} == {("last", "validation")}


def test_without_validation_there_is_nothing_to_choose_by(tmp_path: Path) -> None:
    make = maker(tmp_path)
    assert validation_of(make("with", depth=2)).last("accuracy") > 0.5
    with pytest.raises(RunError, match=r"data\.validation"):
        validation_of(make("without", depth=2, validation=False))
