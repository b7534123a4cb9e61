from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torchsid.show import load_run
from torchsid.show.figures.calibration import calibration_diagram


def test_one_dot_a_bin_that_holds_samples(make_run: Callable[..., Path]) -> None:
    weights = load_run(make_run(depth=2)).best
    assert weights is not None
    assert weights.test is not None
    bins = {"confidence": (0.2, 0.0, 0.9), "accuracy": (0.3, 0.0, 0.8), "count": (10.0, 0.0, 90.0)}
    drawing = calibration_diagram(replace(weights.test, calibration=bins, ece=(0.0, 0.0, 0.1)), "SID", 2)
    assert drawing.title == "SID: accuracy by confidence, %; ECE 10.00\u00a0%"
    assert drawing.svg.count('style="fill: var(--s3)') == 2
    assert "over 100 samples" in drawing.svg
