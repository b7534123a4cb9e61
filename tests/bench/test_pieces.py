import torch
from torch import Tensor
from torch.optim import SGD

from torchsid.bench.pipeline.contenders import Chain, cut, seconds_of_stages
from torchsid.bench.recorder import sid_seconds
from torchsid.bench.workload import Workload

RESNET = Workload(model="resnet-18", stages=(4,), width=2, batch_size=4, image_size=16)


def test_the_chains_of_a_model_are_the_model() -> None:
    _, stages = cut(RESNET)
    x, _ = RESNET.batch()
    front, back = Chain(*stages[:3]).eval(), Chain(*stages[3:]).eval()
    crossing = front(x)
    assert isinstance(crossing, tuple)
    logits = back(*crossing)
    assert isinstance(logits, Tensor)
    torch.testing.assert_close(logits, RESNET.new_model().eval()(x))
    whole = sum(parameter.numel() for parameter in RESNET.new_model().parameters())
    assert sum(parameter.numel() for chain in (front, back) for parameter in chain.parameters()) == whole


def test_every_stage_takes_time_in_every_part() -> None:
    cascade = RESNET.new_cascade(4)
    seconds = sid_seconds(cascade, *RESNET.batch(), SGD(cascade.parameters(), lr=0.1), repeats=1)
    assert len(seconds) == 4
    assert all(set(stage) == {"forward", "head", "backward", "update"} for stage in seconds)
    assert min(value for stage in seconds for value in stage.values()) > 0
    both = seconds_of_stages(RESNET)
    assert {name: len(stages) for name, stages in both.items()} == {"backprop": 4, "sid": 4}
    assert min(min(stages) for stages in both.values()) > 0
