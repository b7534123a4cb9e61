import json
from collections.abc import Callable
from pathlib import Path

import pytest

from torchsid.show import comparison
from torchsid.show.figures import stages


def test_values_are_averaged_over_the_seeds(make_run: Callable[..., Path]) -> None:
    (method,) = comparison([make_run("a"), make_run("b", seed=1)]).methods
    splits = [run.chosen.test for run in method.runs if run.chosen and run.chosen.test]
    expected = [(first + second) / 2 for first, second in zip(*(split.kl for split in splits), strict=True)]
    assert stages.mean_by_stage(method, lambda split: split.kl) == pytest.approx(expected)


def test_a_plain_network_is_a_level_and_not_a_path(make_run: Callable[..., Path]) -> None:
    methods = comparison([make_run("a", depth=5), make_run("b", label="Plain", depth=1)]).methods
    svg = stages.accuracy_by_stage(methods).svg
    assert svg.count('style="fill: var(--s1)') == 5  # one marker a stage, the prior left out
    assert svg.count('style="fill: var(--s2)') == 0
    assert "stroke: var(--s2)" in svg


def test_the_kl_of_the_prior_is_shown(make_run: Callable[..., Path]) -> None:
    methods = comparison([make_run(depth=5)]).methods
    assert stages.kl_mean_by_stage(methods).svg.count('style="fill: var(--s1)') == 6


def test_the_band_needs_its_quantiles(make_run: Callable[..., Path]) -> None:
    path = make_run()
    (method,) = comparison([path]).methods
    band = stages.kl_band(method, 0)
    assert band is not None
    assert "the median ends at" in band.svg
    evaluation = json.loads((path / "evaluation.json").read_text())
    del evaluation["best"]["test"]["kl_quantiles"]["0.5"]
    (path / "evaluation.json").write_text(json.dumps(evaluation))
    (method,) = comparison([path]).methods
    assert stages.kl_band(method, 0) is None


def test_a_divergence_of_zero_fits_a_logarithmic_axis(make_run: Callable[..., Path]) -> None:
    path = make_run(depth=2)
    evaluation = json.loads((path / "evaluation.json").read_text())
    evaluation["best"]["test"]["kl_quantiles"] = {q: [2.3, 0.0, 0.0] for q in ("0.05", "0.25", "0.5", "0.75", "0.95")}
    (path / "evaluation.json").write_text(json.dumps(evaluation))
    (method,) = comparison([path]).methods
    assert stages.kl_band(method, 0) is not None
