from collections.abc import Callable
from pathlib import Path

import pytest

from torchsid.show import comparison
from torchsid.show.figures import curves


def test_without_validation_the_training_accuracy_is_drawn(make_run: Callable[..., Path]) -> None:
    assert curves.accuracy_curve(comparison([make_run("a")]).methods).title == "Validation accuracy by epoch, %"
    without = comparison([make_run("b", validation=False)]).methods
    assert curves.accuracy_curve(without).title == "Training accuracy by epoch, %"


def test_seeds_are_drawn_thin_beside_their_mean(make_run: Callable[..., Path]) -> None:
    runs = [make_run(f"run-{seed}", seed=seed) for seed in range(3)]
    svg = curves.loss_curve(comparison(runs).methods).svg
    assert svg.count("stroke: var(--s1)") == 4
    assert svg.count("stroke-opacity: 0.35") == 3


def test_the_label_says_where_each_method_ends(make_run: Callable[..., Path]) -> None:
    svg = curves.memory_curve(comparison([make_run(epochs=3)]).methods).svg
    assert 'aria-label="Memory by epoch, MiB. SID ends at 402 after epoch 3"' in svg


def test_memorisation_has_the_line_of_true_labels(make_run: Callable[..., Path]) -> None:
    methods = comparison([make_run(noise={"kind": "pair", "rate": 0.4, "measured": 0.41})]).methods
    assert "true labels: 59.0" in curves.memorisation_curve(methods, 0.41).svg


def test_final_train_accuracy_is_the_mean_over_seeds(make_run: Callable[..., Path]) -> None:
    (method,) = comparison([make_run("a", epochs=2), make_run("b", epochs=2, seed=1)]).methods
    expected = sum(run.epochs[-1]["train_accuracy"][-1] for run in method.runs) / 2
    assert curves.final_train_accuracy(method) == pytest.approx(expected)
    (empty,) = comparison([make_run("c", epochs=0, status="running")]).methods
    assert curves.final_train_accuracy(empty) is None


def test_nothing_recorded_is_said(make_run: Callable[..., Path]) -> None:
    methods = comparison([make_run(epochs=0, status="running")]).methods
    assert "Nothing recorded" in curves.loss_curve(methods).svg
