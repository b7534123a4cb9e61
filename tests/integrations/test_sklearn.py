"""The estimators do all that scikit-learn asks of its own, and what stages add to that."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from torchsid.integrations.sklearn import SIDClassifier, SIDRegressor

SMALL = {"stages": 2, "width": 16, "max_iter": 20, "learning_rate": 2e-2}
IRIS, SPECIES = load_iris(return_X_y=True)


@parametrize_with_checks([SIDClassifier(**SMALL), SIDRegressor(stages=2, width=32, max_iter=30, batch_size=50, learning_rate=1e-2)])  # type: ignore[untyped-decorator]
@pytest.mark.filterwarnings("ignore")  # which the checks provoke
def test_scikit_learn_finds_nothing_wrong(estimator: Any, check: Any) -> None:
    check(estimator)


def test_every_stage_answers_and_the_last_one_is_what_predict_says() -> None:
    names = np.array(["setosa", "versicolor", "virginica"])
    model = SIDClassifier(stages=3, width=32, max_iter=30, learning_rate=5e-3, random_state=0).fit(IRIS, names[SPECIES])
    beliefs = list(model.staged_predict_proba(IRIS))
    assert [belief.shape for belief in beliefs] == 3 * [(150, 3)]
    assert np.array_equal(beliefs[-1], model.predict_proba(IRIS))
    assert all(
        np.array_equal(model.classes_[belief.argmax(1)], labels)
        for belief, labels in zip(beliefs, model.staged_predict(IRIS), strict=True)
    )
    assert model.score(IRIS, names[SPECIES]) > 0.9
    assert model.n_iter_ == 30
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_it_fits_into_pipelines_searches_and_cross_validation_and_pickles() -> None:
    pipeline = make_pipeline(StandardScaler(), SIDClassifier(**SMALL, random_state=0))
    search = GridSearchCV(pipeline, {"sidclassifier__stages": [1, 2]}, cv=2).fit(IRIS, SPECIES)
    assert search.best_score_ > 0.8
    assert cross_val_score(clone(pipeline), IRIS, SPECIES, cv=3).min() > 0.8
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert np.array_equal(again.predict_proba(IRIS), search.predict_proba(IRIS))


def test_the_seed_decides_and_the_global_one_is_left_alone() -> None:
    def belief(seed: int) -> Any:
        return SIDClassifier(**SMALL, random_state=seed).fit(IRIS, SPECIES).predict_proba(IRIS)

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = belief(0)
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(first, belief(0))
    assert not np.allclose(first, belief(1))


def test_partial_fit_goes_on_and_refuses_labels_that_nobody_told_it_of() -> None:
    model = SIDClassifier(stages=2, width=32, batch_size=50, learning_rate=1e-2, random_state=0)
    for _ in range(40):
        model.partial_fit(IRIS, SPECIES, classes=[0, 1, 2])
    assert model.n_iter_ == 40
    assert model.score(IRIS, SPECIES) > 0.9
    with pytest.raises(ValueError, match=r"labels \[7\]"):
        model.partial_fit(IRIS[:2], [7, 7])


def test_early_stopping_keeps_the_weights_that_were_best_on_the_rows_held_out() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 10)), rng.integers(2, size=120)  # nothing to be learnt
    model = SIDClassifier(**{**SMALL, "max_iter": 200}, early_stopping=True, n_iter_no_change=5, random_state=0).fit(x, y)
    assert 6 <= model.n_iter_ < 200
    held_out = -np.log(model.predict_proba(x)[np.arange(120), y]).mean()
    longer = SIDClassifier(**{**SMALL, "max_iter": model.n_iter_}, random_state=0).fit(x, y)
    assert held_out > -np.log(longer.predict_proba(x)[np.arange(120), y]).mean()  # which learnt the labels by heart


class Deep(nn.Module):
    """A network of the user's own, on images."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(24, 24), nn.ReLU())
        self.head = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x)))


def test_a_network_of_ones_own_is_cut_where_its_owner_says_and_not_changed() -> None:
    rng = np.random.default_rng(0)
    images, digits = rng.normal(size=(60, 8, 8)).astype(np.float32), np.arange(60) % 10
    network = Deep()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = SIDClassifier(network, stages=["first", "second"], max_iter=3).fit(images, digits)
    assert len(list(model.staged_predict(images))) == 3
    assert isinstance(model.cascade_.model, Deep)
    assert model.predict_proba(images).dtype == np.float32
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    made = SIDClassifier(lambda inputs, outcomes: nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outcomes)), stages=2)
    assert len(list(made.fit(IRIS, SPECIES).staged_predict(IRIS))) == 2


def test_a_regressor_beats_the_mean_and_its_intervals_hold_what_they_say() -> None:
    x, y = load_diabetes(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=0)
    model = SIDRegressor(early_stopping=True, max_iter=60, random_state=0).fit(train_x, train_y)
    assert model.score(test_x, test_y) > 0.25
    low, high = model.predict_interval(test_x, 0.9).T
    assert 0.75 < np.mean((low <= test_y) & (test_y <= high)) <= 1
    assert np.array_equal(list(model.staged_predict(test_x))[-1], model.predict(test_x))
    assert np.allclose(SIDRegressor(**SMALL).fit(x, np.full(len(x), 3.0)).predict(x), 3.0, atol=0.1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_iter": 0, "batch_size": 0}, "max_iter = 0: give 1 or more; batch_size = 0"),
        ({"stages": ["layer1"]}, "of a network of your own"),
        ({"early_stopping": True, "validation_fraction": 1.5}, "a share between 0 and 1"),
        ({"early_stopping": True, "validation_fraction": 1e-6}, "holds out none of 150 rows"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SIDClassifier(**settings).fit(IRIS, SPECIES)
