from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.study.experiments.samples import experiment

from torchsid.study.experiments.grid import Cell, Grid, cells, whole
from torchsid.study.experiments.plan import Contender
from torchsid.study.experiments.sizing import estimate, fit, probes, smaller, total

ABOUT = experiment()
ONE_SECOND = dict.fromkeys(cells(ABOUT, whole(ABOUT)), 1.0)


def test_a_grid_takes_a_run_for_each_rate_and_each_further_seed() -> None:
    assert total(ABOUT, whole(ABOUT), ONE_SECOND) == 11 * (3 + 4)
    assert total(ABOUT, Grid(("2", "32"), (0,)), ONE_SECOND, workers=2) == 5 * 3 / 2


def test_an_ablation_costs_its_seeds_alone() -> None:
    contenders = {"SID": Contender(), "other": Contender(of="SID", seeds=[0, 1], settings={"learner.alpha": 1.0})}
    about = experiment(contenders=contenders, axis=None)
    assert total(about, whole(about), dict.fromkeys(cells(about, whole(about)), 1.0)) == 7 + 2


def test_the_stated_order() -> None:
    steps = [(grid.values, len(grid.seeds)) for grid in smaller(ABOUT)]
    five = ("2", "4", "8", "16", "32")
    assert steps == [
        *((five, seeds) for seeds in (5, 4, 3)),
        (("2", "4", "16", "32"), 3),
        (("2", "4", "32"), 3),  # 4 is the reference, 2 and 32 the ends
        *((("2", "4", "32"), seeds) for seeds in (2, 1)),
    ]


def test_what_fits_is_left_whole() -> None:
    sized = fit(ABOUT, ONE_SECOND, 77)
    assert (sized.grid, sized.seconds, sized.dropped) == (whole(ABOUT), 77, ())


def test_what_is_dropped_is_said() -> None:
    sized = fit(ABOUT, ONE_SECOND, 40)
    assert sized.grid == Grid(("2", "4", "32"), (0, 1, 2))
    assert sized.dropped == ("2 of 5 seeds (3, 4)", "2 of 5 values of the axis (8, 16)")


def test_the_least_is_kept_whatever_the_budget() -> None:
    sized = fit(ABOUT, ONE_SECOND, 0.1)
    assert sized.grid == Grid(("2", "4", "32"), (0,))
    assert sized.seconds == 7 * 3 > 0.1


def test_more_workers_keep_more() -> None:
    assert fit(ABOUT, ONE_SECOND, 40, workers=2).dropped == ()


@given(st.floats(0.1, 100.0), st.integers(1, 4))
def test_a_grid_fits_or_is_the_least_and_every_contender_stays(budget: float, workers: int) -> None:
    sized = fit(ABOUT, ONE_SECOND, budget, workers)
    assert sized.seconds <= budget or sized.grid == list(smaller(ABOUT))[-1]
    assert {cell.contender for cell in cells(ABOUT, sized.grid)} == set(ABOUT.contenders)
    assert set(probes(ABOUT)) <= set(cells(ABOUT, sized.grid))


def test_every_step_is_smaller() -> None:
    sizes = [total(ABOUT, grid, ONE_SECOND) for grid in smaller(ABOUT)]
    assert all(after < before for before, after in pairwise(sizes))


def test_seconds_between_the_ends_lie_on_a_line() -> None:
    measured = {Cell("SID", "2"): 1.0, Cell("SID", "32"): 16.0, Cell("BP", "2"): 2.0, Cell("BP", "32"): 2.0, Cell("flat"): 0.5}
    assert set(measured) == set(probes(ABOUT))
    seconds = estimate(ABOUT, measured)
    assert seconds[Cell("SID", "8")] == pytest.approx(1 + 15 * 6 / 30)
    assert seconds[Cell("BP", "16")] == 2.0
    assert seconds[Cell("flat")] == 0.5


def test_without_an_axis_every_contender_is_a_probe() -> None:
    about = experiment(axis=None)
    assert probes(about) == [Cell("SID"), Cell("BP"), Cell("flat")]
    assert [len(grid.seeds) for grid in smaller(about)] == [5, 4, 3, 2, 1]
