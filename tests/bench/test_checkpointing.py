import pytest
import torch

from torchsid.bench.checkpointing import Checkpointed
from torchsid.bench.workload import Workload
from torchsid.learners.backprop import Backprop

RESNET = Workload(model="resnet-18", stages=(4,), width=4, batch_size=4, image_size=16)
CUTS = ("layer1", "layer2.0", "layer4")


@pytest.mark.parametrize("reentrant", [False, True])
def test_the_gradients_are_those_of_backpropagation(reentrant: bool) -> None:
    x, target = RESNET.batch()
    model, same = RESNET.new_model().double(), RESNET.new_model().double()
    checkpointed = Checkpointed(same, CUTS)
    checkpointed.reentrant = reentrant
    expected, found = Backprop(model).backward(x.double(), target), Backprop(checkpointed).backward(x.double(), target)
    assert torch.equal(found.loss, expected.loss)
    for (name, one), other in zip(model.named_parameters(), same.parameters(), strict=True):
        assert one.grad is not None, name
        torch.testing.assert_close(other.grad, one.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reentrant", [False, True])
def test_all_pieces_but_the_last_run_twice(reentrant: bool) -> None:
    x, target = RESNET.batch()
    checkpointed = Checkpointed(RESNET.new_model(), CUTS)
    checkpointed.reentrant = reentrant
    runs: list[str] = []
    for name in ("conv1", "layer2.0.conv1", "layer4.1.conv1", "fc"):
        checkpointed.model.get_submodule(name).register_forward_hook(lambda module, args, output, name=name: runs.append(name))
    Backprop(checkpointed).backward(x, target)
    forward = ["conv1", "layer2.0.conv1", "layer4.1.conv1", "fc"]
    assert runs == [*forward, "layer4.1.conv1", "layer2.0.conv1", "conv1"]
