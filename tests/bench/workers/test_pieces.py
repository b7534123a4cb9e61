import torch
from torch import Tensor

from torchsid.bench.workers.pieces import Chain, backprop_seconds, cut
from torchsid.bench.workload import Workload

RESNET = Workload(model="resnet-18", stages=(4,), width=2, batch_size=4, image_size=16)


def test_the_chains_of_a_model_are_the_model() -> None:
    _, stages = cut(RESNET)
    x, _ = RESNET.batch()
    front, back = Chain(stages[:3]).eval(), Chain(stages[3:]).eval()
    crossing = front(x)
    assert isinstance(crossing, tuple)
    logits = back(*crossing)
    assert isinstance(logits, Tensor)
    torch.testing.assert_close(logits, RESNET.new_model().eval()(x))
    whole = sum(parameter.numel() for parameter in RESNET.new_model().parameters())
    assert sum(parameter.numel() for chain in (front, back) for parameter in chain.parameters()) == whole


def test_every_stage_costs_time() -> None:
    seconds = backprop_seconds(RESNET)
    assert len(seconds) == 4
    assert min(seconds) > 0
