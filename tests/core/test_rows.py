"""Samples among inputs of any kind."""

import pytest
import torch
from torch import Tensor

from torchsid.core.calling import Inputs
from torchsid.core.rows import Rows, find_rows

B, T = 3, 4
X, SECOND = torch.arange(12.0).view(B, T), torch.arange(12.0).view(T, B)


def total(x: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    return x.sum(1) * scale


def mixed(x: Tensor, lengths: Tensor, table: Tensor) -> Tensor:
    assert table.shape == (B, 2)
    return x.sum(0) + lengths


def bags(tokens: Tensor, offsets: Tensor) -> Tensor:
    return torch.nn.functional.embedding_bag(tokens, torch.ones(9, 2), offsets)


INPUTS = {
    "batch first": (total, (X,), (0,)),
    "a scalar first": (lambda scale, x: total(x, scale), (torch.tensor(2.0), X), (None, 0)),
    "batch second, lengths, a table of as many rows": (mixed, (SECOND, torch.ones(B), torch.zeros(B, 2)), (1, 0, None)),
    "as many tokens as samples": (lambda x: x.sum(0), (torch.rand(B, B),), (1,)),
}


@pytest.mark.parametrize("case", INPUTS)
def test_the_axis_of_the_samples_is_the_one_that_can_be_doubled(case: str) -> None:
    model, x, axes = INPUTS[case]
    rows = find_rows(lambda given: len(model(*given)), x, B)
    assert rows is not None
    assert tuple(rows.axes.values()) == axes
    assert rows.count(x) == B
    whole, some = model(*x), torch.tensor([2, 0])
    torch.testing.assert_close(model(*rows.twice(x)), torch.cat([whole, whole]))
    torch.testing.assert_close(model(*rows.take(x, some)), whole[some])


def test_inputs_that_no_axis_doubles_are_told() -> None:
    def edges(nodes: Tensor, edge_list: Tensor) -> Tensor:
        return nodes.new_zeros(B, 2) if edge_list.max() < len(nodes) == 7 else nodes.new_zeros(0, 2)

    assert find_rows(lambda given: len(edges(*given)), (torch.rand(7, 2), torch.zeros(2, 9, dtype=torch.long)), B) is None


@pytest.mark.parametrize("x", [X, (X, SECOND.T), (2.0, X), {"flag": True, "x": X}, (torch.tensor(1.0), X)])
def test_the_first_axis_is_taken_where_nothing_is_known(x: Inputs) -> None:
    assert Rows().count(x) == B
    with pytest.raises(ValueError, match="no tensor among the inputs"):
        Rows().count({"x": [1, 2]})
