import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from torchsid.tasks.linear import floor_of, logistic, ridge
from torchsid.tasks.tabular import Tabular


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_the_fits_are_those_of_scikit_learn(penalty: float) -> None:
    x, noise = torch.randn(60, 4, dtype=torch.float64), torch.randn(60, dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2.0, 0.0, 3.0], dtype=torch.float64) + 5 + noise
    theirs = Ridge(alpha=penalty).fit(x, y).predict(x)
    torch.testing.assert_close(ridge(x, y)(penalty)(x), torch.from_numpy(theirs))
    classes = (y > 5).long() + (y > 8).long()
    fitted = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=1000).fit(x, classes)
    ours = logistic(x, torch.eye(3, dtype=torch.float64)[classes])(penalty)(x)
    torch.testing.assert_close(ours, torch.from_numpy(fitted.predict_log_proba(x)), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(("name", "scores"), [("diabetes", {"mae", "rmse", "r2"}), ("iris", {"kl", "accuracy"})])
@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_the_floor_of_a_table(name: str, scores: set[str], validation: float) -> None:
    task = Tabular(name=name, validation=validation)
    floor = task.floor(task.load(0))
    assert floor is not None
    assert ("chosen on validation" in floor.about) == bool(validation)
    assert floor.scores.keys() == ({"validation", "test"} if validation else {"test"})
    assert floor.scores["test"].keys() == scores
    assert floor.scores["test"].get("r2", 1) > 0.4
    assert floor.scores["test"].get("accuracy", 1) > 0.8


def test_a_very_large_table_has_none() -> None:
    splits = Tabular(name="iris").load(0)
    inputs = splits.train.inputs[:]
    assert isinstance(inputs, torch.Tensor)
    object.__setattr__(splits.train, "inputs", inputs[:1].expand(2**23, 4))
    assert floor_of(splits, lambda inputs: inputs) is None
