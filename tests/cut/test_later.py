import pytest
import torch
from torch import nn

from torchsid.cut.cuts import candidates
from torchsid.cut.later import later_layers
from torchsid.cut.profile import profile

from .classifiers import classifier, images
from .toys import LongSkip, X


@pytest.mark.parametrize("name", ["mlp", "resnet-18", "vgg-11", "simple-cnn"])
def test_the_layers_lead_from_one_candidate_to_the_next(name: str) -> None:
    model, (x, _) = classifier(name), images(name)
    found = profile(model, x)
    points = candidates(found)
    model.eval()
    for k, point in enumerate(points[:-2]):
        pieces = later_layers(model, found, points, point)
        assert len(pieces) == len(points) - 2 - k, point.name
        seen = {}
        handles = [
            model.get_submodule(end.name).register_forward_hook(lambda _, __, out, n=end.name, to=seen: to.update({n: out}))
            for end in points[:-1]
        ]
        model(x)
        for handle in handles:
            handle.remove()
        h = seen[point.name]
        for piece, end in zip(pieces, points[k + 1 :], strict=False):
            h = piece(h)
            torch.testing.assert_close(h, seen[end.name])


def test_the_modules_are_the_models_own() -> None:
    model, (x, _) = classifier("mlp"), images("mlp")
    found = profile(model, x)
    points = candidates(found)
    pieces = later_layers(model, found, points, points[0])
    assert pieces[0] is model.blocks[0]


def test_they_end_before_what_is_no_chain() -> None:
    model: nn.Module = LongSkip()
    found = profile(model, X)
    points = candidates(found)
    assert later_layers(model, found, points, points[0]) == []
