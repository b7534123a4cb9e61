import numpy as np
import torch

from torchsid.show.figures.simplex import simplex_path
from torchsid.study.simplex import points


def test_title_tells_where_the_means_end() -> None:
    ends = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.0, 0.4, 0.6]])
    means = points(torch.stack([torch.full((3, 3), 1 / 3), ends]), (0, 1, 2)).numpy()
    singles = means[:, [0, 2]]
    found = simplex_path(means, singles, np.array([0, 2]), ["cat", "a & b", "e" * 40])
    assert found.title == f"Mean beliefs in cat, a & b and {'e' * 40} end at 80\u00a0%, 70\u00a0% and 60\u00a0%"
    assert "the paths of 2 images" in found.svg
    assert ">a &amp; b</text>" in found.svg
    assert ">eeeeeeeeeeeeeeeeeeeeeee…</text>" in found.svg
