"""Beliefs over bins are drawn as they are: a drawing a stage, a curve a position, with the means that they have."""

import pytest
import torch

from torchsid.study.histograms import histograms

ABOUT = {"bins": {"low": 0.0, "high": 8.0, "count": 4}}  # middles 1, 3, 5, 7


@pytest.mark.parametrize(("samples", "shown"), [(1, 1), (2, 2), (9, 3)])
def test_a_few_samples_have_a_drawing_a_stage(samples: int, shown: int) -> None:
    drawn = list(histograms("SID", torch.randn(4, samples, 4).log_softmax(-1), ABOUT))
    assert [len(each) for each in drawn] == [3] * shown
    assert drawn[-1][-1].title == f"SID, sample {samples}, stage 3"


def test_positions_have_a_curve_each_with_its_mean() -> None:
    beliefs = torch.tensor([[0.25] * 4, [0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.5]])
    stages = torch.stack([beliefs[[0, 0]], beliefs[[1, 2]]]).unsqueeze(1)  # [2, 1, 2, 4]
    ((drawing,),) = histograms("SID", stages.log(), ABOUT)
    assert "position 0: 3" in drawing.svg
    assert "position 1: 4" in drawing.svg
    ((single,),) = histograms("SID", stages[:, :, 1].log(), ABOUT)
    assert "mean: 4" in single.svg


def test_outcomes_that_are_no_bins_have_none() -> None:
    assert not list(histograms("SID", torch.zeros(2, 3, 4), {"num_classes": 4}))
