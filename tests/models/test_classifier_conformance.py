"""Every classifier keeps the contract of `models.classifier`."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from torchsid import models

WIDTH = {"vit-tiny": 64}  # its narrowest; the others are tried at width 8
every_classifier = pytest.mark.parametrize("name", models.classifier_names())


def build(name: str, *, channels: int = 3, size: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return models.classifier(name, num_classes=5, in_channels=channels, image_size=size, width=WIDTH.get(name, 8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [32, 64])
@every_classifier
def test_images_become_logits(name: str, size: int, channels: int) -> None:
    logits = build(name, channels=channels, size=size)(torch.randn(2, channels, size, size))
    assert logits.shape == (2, 5)
    assert torch.isfinite(logits).all()


@every_classifier
def test_every_parameter_learns(name: str) -> None:
    model = build(name)
    F.cross_entropy(model(torch.randn(8, 3, 32, 32)), torch.arange(8) % 5).backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()] == []


@every_classifier
def test_the_seed_decides_the_parameters(name: str) -> None:
    one, same = build(name).state_dict(), build(name).state_dict()
    assert one.keys() == same.keys()
    assert all(torch.equal(one[key], same[key]) for key in one)


@every_classifier
def test_float64_stays_float64(name: str) -> None:
    model = build(name).double().eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    logits = model(x)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(model.float()(x.float()).double(), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@every_classifier
def test_fx_traces_it(name: str, training: bool) -> None:
    model = build(name).train(training)
    traced = fx.symbolic_trace(deepcopy(model))
    for batch in (2, 3):  # the trace holds for any batch
        x = torch.randn(batch, 3, 32, 32)
        assert torch.equal(traced(x), model(x))


@every_classifier
def test_nothing_works_in_place(name: str) -> None:
    """A cut hands on a detached tensor that shares its storage, and it may fall before any operation."""

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            inputs = [self.env[source] for source in n.all_input_nodes if isinstance(self.env[source], Tensor)]
            versions = [tensor._version for tensor in inputs]
            answer = super().run_node(n)
            assert [tensor._version for tensor in inputs] == versions, f"{n} works in place"
            return answer

    Watch(fx.symbolic_trace(build(name)), garbage_collect_values=False).run(torch.randn(2, 3, 32, 32))


@every_classifier
def test_samples_do_not_see_each_other_in_evaluation(name: str) -> None:
    model = build(name).eval()
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]))


@every_classifier
def test_it_has_a_description(name: str) -> None:
    assert models.CLASSIFIERS[name]
    assert "\n" not in models.CLASSIFIERS[name]
