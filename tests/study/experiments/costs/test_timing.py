from pathlib import Path

import pytest
from tests.study.experiments.costs.samples import TIMING

from torchsid.study.experiments.costs import shared, timing
from torchsid.study.experiments.costs.measured import Measured
from torchsid.study.experiments.costs.parts import EXTRACTOR, PARTS, PHASE_1, PHASE_2, UPDATE
from torchsid.study.experiments.costs.shared import CHAIN, PLAIN, REFERENCE, STREAMING, TWO_PHASE

WORK = shared.workload(TIMING.shared[0], 4)


def test_all_contenders_of_a_network_take_every_round() -> None:
    rounds = timing.take_rounds(WORK, 2, None)
    assert list(rounds) == list(shared.contenders(WORK))
    assert {len(steps) for steps in rounds.values()} == {2}
    assert all(set(step) == set(PARTS) for step in rounds[TWO_PHASE])
    assert all(set(step) == {"step"} for step in rounds[STREAMING])


def test_a_budget_takes_rounds_away_but_never_all() -> None:
    assert {len(steps) for steps in timing.take_rounds(WORK, 50, 1e-6).values()} == {2}


def test_rows_say_what_the_rounds_say() -> None:
    one = {EXTRACTOR: 1.0, PHASE_1: 1.0, PHASE_2: 4.0, UPDATE: 2.0}
    two = {part: 2 * seconds for part, seconds in one.items()}  # a slow moment, for all of them
    others = {name: [{"step": 4.0}, {"step": 8.0}] for name in (STREAMING, REFERENCE, CHAIN, PLAIN)}
    rows = {row.contender: row for row in timing.rows(WORK, {TWO_PHASE: [one, two], **others})}
    row = rows[TWO_PHASE]
    assert (row.network, row.kind, row.stages, row.rounds) == ("mlp extractor, L = 4", "shared", 4, 2)
    assert row.seconds == (12.0, 10.0, 14.0)
    assert row.over[REFERENCE] == (2.0, 2.0, 2.0)
    assert {part: spread[0] for part, spread in row.parts.items()} == {EXTRACTOR: 0.125, PHASE_1: 0.125, PHASE_2: 0.5, UPDATE: 0.25}
    assert sum(spread[0] for spread in row.parts.values()) == 1.0
    assert row.serial == (0.25, 0.25, 0.25)
    assert row.bounds is not None
    assert {n: spread[0] for n, spread in row.bounds.items()} == pytest.approx({2: 1.6, 4: 1 / (0.25 + 0.75 / 4)})
    assert rows[STREAMING].serial is None
    assert rows[PLAIN].stages == 1


def test_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    said: list[str] = []
    first = list(timing.measure(TIMING, Measured(tmp_path, {}), None, said.append))
    assert {row.kind for row in first} == {"shared", "staged"}
    assert not any("already" in line for line in said)
    said.clear()
    assert list(timing.measure(TIMING, Measured(tmp_path, {}), None, said.append)) == first
    assert [line.rpartition("  ")[2] for line in said] == ["already there"] * 2


def test_a_killed_run_measures_what_is_missing(tmp_path: Path) -> None:
    first = list(timing.measure(TIMING, Measured(tmp_path, {}), None, lambda line: None))
    path = tmp_path / "measured.jsonl"
    path.write_text(path.read_text()[:-20])
    said: list[str] = []
    second = list(timing.measure(TIMING, Measured(tmp_path, {}), None, said.append))
    assert ["already" in line for line in said] == [True, False]
    assert [row for row in second if row.kind == "shared"] == [row for row in first if row.kind == "shared"]
    assert [row for row in second if row.kind == "staged"] != [row for row in first if row.kind == "staged"]


def test_another_budget_is_another_question(tmp_path: Path) -> None:
    list(timing.measure(TIMING, Measured(tmp_path, {}), None, lambda line: None))
    said: list[str] = []
    list(timing.measure(TIMING, Measured(tmp_path, {}), 0.01, said.append))
    assert not any("already" in line for line in said)
