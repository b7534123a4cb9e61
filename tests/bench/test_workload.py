from dataclasses import replace

import pytest
import torch
from torch import nn

from torchsid.bench.workload import Workload
from torchsid.cut.graph import GraphSegments

TINY = Workload(model="simple-cnn", stages=(2,), width=8, batch_size=8, image_size=8)


def test_a_cascade_has_the_weights_of_the_model() -> None:
    cascade = TINY.new_cascade(2)
    assert cascade.depth == 2
    assert all(torch.equal(value, cascade.model.state_dict()[name]) for name, value in TINY.new_model().state_dict().items())


def test_blocks_are_stages() -> None:
    workload = Workload(model="mlp", stages=(5,), blocks=5, width=32, batch_size=8, image_size=4)
    plan = workload.new_cascade(5).plan
    assert plan is not None
    assert [stage.cut for stage in plan.stages] == ["blocks.0", "blocks.1", "blocks.2", "blocks.3", ""]
    assert workload.title == "mlp, 5 blocks, width 32"


@pytest.mark.parametrize("variant", ["float32", "bfloat16", "channels-last", "compiled"])
def test_variants_do_what_they_are_called(variant: str) -> None:
    workload = replace(TINY, variant=variant)
    x, _ = workload.batch()
    cascade = workload.new_cascade(2)
    weight = cascade.model.get_parameter("extractor.2.weight")
    assert x.is_contiguous(memory_format=torch.channels_last) == (variant == "channels-last")
    assert weight.is_contiguous(memory_format=torch.channels_last) == (variant == "channels-last")
    assert isinstance(cascade.segments, GraphSegments) == (variant == "compiled")
    with workload.arithmetic():
        assert (cascade(x).dtype == torch.bfloat16) == (variant == "bfloat16")
    assert weight.dtype == torch.float32
    assert workload.title == ("simple-cnn, width 8" if variant == "float32" else f"simple-cnn, width 8, {variant}")


def test_a_shared_cascade_and_its_plain_counterpart_begin_alike() -> None:
    workload = Workload(model="shared", stages=(3,), extractor="simple-cnn", width=16, batch_size=8, image_size=8)
    cascade, again, plain = workload.new_cascade(3), workload.new_cascade(3), workload.new_model()
    assert all(map(torch.equal, cascade.parameters(), again.parameters()))
    assert cascade.depth == 3
    assert isinstance(plain, nn.Sequential)
    assert len(plain) == 2
    for one, other in zip(cascade.extractor.parameters(), plain[0].parameters(), strict=True):
        assert torch.equal(one, other)
    assert workload.title == "simple-cnn extractor, L = 3, width 16"
