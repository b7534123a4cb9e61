from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchsid.study.simplex import CORNERS, entangled, points


def test_certainty_is_a_corner_and_indifference_the_middle() -> None:
    beliefs = torch.tensor([[0.0, 0.2, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.1, 0.3, 0.3, 0.3], [1.0, 0.0, 0.0, 0.0]])
    found = points(beliefs, (1, 2, 3))
    torch.testing.assert_close(found[:2], CORNERS[[0, 2]])
    torch.testing.assert_close(found[2:], CORNERS.mean(0).expand(2, 2))  # and of no belief in any of the three as well


def test_the_triangle_is_equilateral() -> None:
    sides = torch.pdist(CORNERS)
    torch.testing.assert_close(sides, torch.ones(3, dtype=torch.float64))


def test_those_taken_for_each_other_are_chosen() -> None:
    truth = torch.tensor([0, 1, 2, 3, 4, 4, 1, 3])
    answers = torch.tensor([0, 4, 2, 1, 1, 3, 1, 3])
    assert entangled(answers, truth, torch.eye(5)) == (1, 3, 4)


def test_without_errors_belief_decides() -> None:
    beliefs = torch.eye(4)
    beliefs[1, 3] = beliefs[3, 2] = 0.2
    assert entangled(torch.arange(4), torch.arange(4), beliefs) == (1, 2, 3)


def test_two_classes_have_no_triangle() -> None:
    assert entangled(torch.tensor([0]), torch.tensor([1]), torch.eye(2)) is None


@given(st.integers(3, 7), st.integers(0, 10**6))
def test_no_other_three_are_confused_more_often(num_classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth, answers = torch.randint(num_classes, (2, 30), generator=generator)
    chosen = entangled(answers, truth, torch.zeros(num_classes, num_classes))

    def confusions(classes: tuple[int, ...]) -> int:
        among = torch.isin(truth, torch.tensor(classes)) & torch.isin(answers, torch.tensor(classes))
        return int((among & (truth != answers)).sum())

    assert chosen is not None
    assert confusions(chosen) == max(map(confusions, combinations(range(num_classes), 3)))


def test_points_stay_inside() -> None:
    found = points(torch.rand(50, 5), (0, 2, 4))
    x, y = found.unbind(-1)
    assert float(y.min()) >= 0
    assert float((y - 2 * CORNERS[2, 1] * torch.minimum(x, 1 - x)).max()) <= 1e-9
    assert float(x.mean()) == pytest.approx(0.5, abs=0.15)
