"""The tables of floors say what their records say, and a floor is made as the script says."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RECORDED = sorted((BENCHMARKS / "results" / "numbers").glob("*-floor.json"))


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / "number_floor.py"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_table_is_the_one_that_its_record_makes(script: dict[str, Any], path: Path) -> None:
    text = path.read_text("utf-8")
    assert script["table"](json.loads(text)["rows"]) == path.with_suffix(".md").read_text("utf-8")
    assert not any(place in text for place in ("/tmp/", "/home/", "/work/"))


def test_the_network_learns_from_squared_errors(script: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 4))
    parts = dict.fromkeys(("train", "validation", "test"), (x, 100 + 5 * x[:, 0]))
    answers = script["by_squares"]("diabetes", parts, 0.003, 0)
    assert answers.keys() == {"validation", "test"}
    assert script["scores"](answers["test"], parts["test"][1])["r2"] > 0.9
