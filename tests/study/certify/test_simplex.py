from itertools import combinations

import torch
from hypothesis import given
from hypothesis import strategies as st

from torchsid.study.certify.simplex import entangled, of_three


def test_beliefs_are_restricted_to_three_and_renormalised() -> None:
    beliefs = torch.tensor([[0.0, 0.2, 0.0, 0.0], [0.4, 0.3, 0.2, 0.1], [1.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[1, 0, 0], [0.5, 1 / 3, 1 / 6], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)
    torch.testing.assert_close(of_three(beliefs, (1, 2, 3)), expected, atol=1e-6, rtol=1e-6)


def test_those_taken_for_each_other_are_chosen() -> None:
    truth = torch.tensor([0, 1, 2, 3, 4, 4, 1, 3])
    answers = torch.tensor([0, 4, 2, 1, 1, 3, 1, 3])
    assert entangled(answers, truth, torch.eye(5)) == (1, 3, 4)


def test_without_errors_belief_decides_and_two_classes_have_no_triangle() -> None:
    beliefs = torch.eye(4)
    beliefs[1, 3] = beliefs[3, 2] = 0.2
    assert entangled(torch.arange(4), torch.arange(4), beliefs) == (1, 2, 3)
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
