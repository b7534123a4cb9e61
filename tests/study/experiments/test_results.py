import json
from collections.abc import Callable
from math import nan
from pathlib import Path

import pytest

from torchsid.errors import RunError
from torchsid.study.experiments.grid import Cell, Job
from torchsid.study.experiments.results import COLUMNS, rows_of, score
from torchsid.training import RunDirectory

JOB = Job(Cell("SID", "4"), 0.002, 1)
Write = Callable[..., RunDirectory]


@pytest.fixture
def evaluated(tmp_path: Path) -> Write:
    """Make a run of two stages with such a validation accuracy and KL of the last one."""

    def write(accuracy: float = 0.9, kl: float = 0.4) -> RunDirectory:
        split = {"n": 9, "accuracy": [0.1, 0.5, accuracy], "kl": [2.3, 0.5, kl], "confusion": [[1]], "correct": "1"}
        weights = {"epoch": 1, "validation": split, "test": split}
        (tmp_path / "evaluation.json").write_text(json.dumps({"best": weights, "last": weights}))
        (tmp_path / "manifest.json").write_text(json.dumps({"train_seconds": 3.0, "kept_bytes": 7}))
        return RunDirectory(tmp_path)

    return write


def test_accuracy_decides_and_of_equals_the_least_divergence(evaluated: Write) -> None:
    found = [score(evaluated(*each)) for each in ((0.5, nan), (0.5, 0.9), (0.5, 0.1), (0.7, 9.0))]
    assert found == sorted(found)


def test_without_validation_there_is_nothing_to_choose_by(evaluated: Write, tmp_path: Path) -> None:
    run = evaluated()
    found = run.evaluation()
    found["last"]["validation"] = None
    run.write_evaluation(found)
    with pytest.raises(RunError, match=r"data\.validation"):
        score(run)


def test_a_row_for_every_number_by_stage_and_for_what_the_run_cost(evaluated: Write) -> None:
    rows = list(rows_of(JOB, evaluated(kl=nan), chosen=True))
    assert len(rows) == 2 * 2 * 2 * 2 + 2
    one = {"weights": "last", "split": "test", "stage": 2, "metric": "kl", "value": None}
    about = {
        **dict.fromkeys(COLUMNS),
        "contender": "SID",
        "point": "4",
        "rate": 0.002,
        "seed": 1,
        "chosen": True,
        "run": JOB.directory,
    }
    assert {**about, **one} in rows
    assert {**about, "metric": "kept_bytes", "value": 7} in rows


def test_of_rates_that_were_not_chosen_validation_alone_is_told(evaluated: Write) -> None:
    rows = list(rows_of(JOB, evaluated(), chosen=False))
    assert {(row["weights"], row["split"], row["chosen"]) for row in rows} == {("last", "validation", False)}
