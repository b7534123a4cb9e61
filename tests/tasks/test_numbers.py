"""What beliefs over bins say of numbers, and how near that comes, as other libraries measure it."""

import json
import math

import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from torchsid.errors import DataError
from torchsid.tasks.domain import Floor, Samples
from torchsid.tasks.numbers import BinsConfig, Numbers, Said, errors
from torchsid.training.evaluation import evaluate


def test_errors_are_those_of_scikit_learn() -> None:
    truth, mean = torch.randn(50, dtype=torch.float64), torch.randn(3, 50, dtype=torch.float64)
    weight = torch.rand(50, dtype=torch.float64)
    found = errors(Said(mean, mean - 0.5, mean + 0.5), truth, weight / weight.sum())
    for name, metric in [("mae", mean_absolute_error), ("rmse", root_mean_squared_error), ("r2", r2_score)]:
        assert found[name] == pytest.approx([metric(truth, answer, sample_weight=weight) for answer in mean])
    within = ((mean - truth).abs() <= 0.5) * weight / weight.sum()
    assert found["coverage"] == pytest.approx(within.sum(1).tolist())


def test_numbers_that_are_all_the_same_have_no_r2() -> None:
    one = torch.ones(1, 4, dtype=torch.float64)
    assert errors(Said(one, one, one), one[0], one[0] / 4).keys() == {"mae", "rmse", "coverage"}


@pytest.mark.parametrize(("low", "high"), [(25.0, 346.0), (1990.0, 1991.0), (-1e-6, 1e-6), (1e9, 1e9 + 50)])
def test_what_a_data_set_keeps_is_json_and_says_the_same_again(low: float, high: float) -> None:
    numbers = Numbers.fitted(torch.tensor([low, high], dtype=torch.float64), BinsConfig(margin=0.1, count=30))
    about = json.loads(json.dumps(numbers.about()))
    assert Numbers.of(about) == numbers
    assert numbers.bins.low == pytest.approx(low - 0.1 * (high - low))
    assert len(set(about["class_names"])) == about["num_classes"] == 30
    assert Numbers.of({"num_classes": 3}) is None


def test_a_target_that_never_changes_is_refused() -> None:
    with pytest.raises(DataError, match="the target is 2 in all 5 training samples"):
        Numbers.fitted(torch.full((5,), 2.0), BinsConfig())


def test_an_evaluation_measures_numbers_at_the_positions_that_count() -> None:
    numbers = Numbers.fitted(torch.tensor([0.0, 10.0], dtype=torch.float64), BinsConfig(count=40))
    values = torch.tensor([[1.0, 99.0], [4.0, 7.0], [8.0, 2.0]], dtype=torch.float64)
    weight = torch.tensor([[1.0, 0.0], [2.0, 1.0], [1.0, 1.0]])
    answers = torch.tensor([[2.0, 5.0], [4.0, 5.0], [8.0, 5.0]], dtype=torch.float64)
    beliefs = numbers.targets(torch.stack([torch.full_like(answers, 5.0), answers])).log()
    samples = Samples(torch.arange(3), numbers.targets(values), weight=weight, value=values)
    found = evaluate(lambda x: beliefs[:, x], samples, prepare=lambda x: x, batch_size=2, numbers=numbers)
    assert found["n"] == 5
    scores = found["scores"]
    assert scores["mae"] == pytest.approx([(4 + 2 * 1 + 2 + 3 + 3) / 6, (1 + 0 + 2 + 0 + 3) / 6], abs=1e-3)
    assert scores["coverage"] == pytest.approx([0.0, 0.5], abs=1e-9)
    assert "scores" not in evaluate(lambda x: beliefs[:, x], samples, prepare=lambda x: x)


def test_a_network_that_misses_by_more_than_the_floor_is_told() -> None:
    floor = Floor("ridge regression", "linear", {"test": {"mae": 2.0, "rmse": 3.0, "r2": 0.5}})
    assert floor.missed("test", {"mae": 1.0, "rmse": 2.0, "r2": 0.6, "kl": math.inf}) == []
    assert [sentence.split()[0] for sentence in floor.missed("test", {"mae": 2.1, "rmse": 3.1, "r2": 0.4})] == ["MAE", "RMSE", "R²"]
