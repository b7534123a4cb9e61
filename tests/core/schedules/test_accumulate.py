import torch
from torch import nn

from torchsid.core.schedules.accumulate import accumulate


def test_rows_are_added_to_what_is_there() -> None:
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[1].grad = torch.tensor([10.0, 20.0])
    kept = parameters[1].grad
    accumulate(parameters, torch.arange(6.0).view(3, 2))
    assert [p.grad.tolist() for p in parameters] == [[0.0, 1.0], [12.0, 23.0], [4.0, 5.0]]
    assert parameters[1].grad is kept


def test_frozen_parameters_get_nothing() -> None:
    frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
    accumulate([frozen], torch.ones(1, 2))
    assert frozen.grad is None
