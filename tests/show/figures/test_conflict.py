from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from torchsid.show import comparison
from torchsid.show.figures.conflict import conflict_matrix, mean_cosine, recorded_conflict


def test_mean_cosine_leaves_out_the_diagonal_and_what_is_unknown() -> None:
    assert mean_cosine(np.array([[1, 0.5], [0.5, 1]])) == 0.5
    assert mean_cosine(np.array([[1, 0.4, np.nan], [0.4, 1, -0.2], [np.nan, -0.2, 1]])) == pytest.approx(0.1)
    assert np.isnan(mean_cosine(np.array([[1, np.nan], [np.nan, 1]])))


def test_recorded_conflict_is_what_the_epochs_hold(make_run: Callable[..., Path]) -> None:
    (method,) = comparison([make_run("a", depth=3, epochs=4)]).methods
    assert [(epoch, cosines.shape) for epoch, cosines in recorded_conflict(method)] == [(k, (3, 3)) for k in range(1, 5)]
    (silent,) = comparison([make_run("b", conflict=False)]).methods
    assert recorded_conflict(silent) == []


def test_few_stages_are_annotated_and_many_are_not() -> None:
    assert ">−0.25</text>" in conflict_matrix("SID", 3, np.array([[1, -0.25], [-0.25, 1]])).svg
    assert "−0.25" not in conflict_matrix("SID", 3, np.full((16, 16), -0.25)).svg
