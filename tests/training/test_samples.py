import torch

from torchsid.training.samples import choose


def beliefs(answers: list[list[int]]) -> torch.Tensor:
    """Log-beliefs `[L+1, N, 2]` whose stages give these answers (one list a sample), below a uniform prior."""
    rows = torch.nn.functional.one_hot(torch.tensor(answers).T, 2).float().mul(3).log_softmax(-1)
    return torch.cat([torch.full_like(rows[:1], 0.5).log(), rows])


def test_early_late_and_wrong_ones_are_chosen() -> None:
    early, late, later, wrong = [1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]
    log_beliefs = beliefs([early, early, early, late, later, wrong, early])
    assert choose(log_beliefs, torch.ones(7, dtype=torch.long), 3).tolist() == [0, 4, 5]


def test_a_third_that_is_short_is_filled_up() -> None:
    log_beliefs = beliefs([[1, 1]] * 5)
    assert choose(log_beliefs, torch.ones(5, dtype=torch.long), 3).tolist() == [0, 1, 2]
    assert choose(log_beliefs, torch.ones(5, dtype=torch.long), 12).tolist() == [0, 1, 2, 3, 4]
