"""Every classifier keeps the contract of `models.classifier`."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from torchsid import models

WIDTH = {"vit-tiny": 64}  # its narrowest; the others are tried at width 8
ANY_SIDE = ("mlp", "resnet-18", "resnet-18-imagenet", "resnet-50")
SMALLEST = {
    "simple-cnn": 4,
    "soft-hebb-cnn": 8,
    "tiny-cnn": 4,
    "vgg-11": 32,
    "vit-tiny": 8,
    **dict.fromkeys(ANY_SIDE, 1),
}  # sides of images
PARAMETERS = {  # as published: ten classes, 32 pixels in colour
    "simple-cnn": 258_634,
    "mlp": 1_846_538,
    "resnet-18": 11_173_962,
    "resnet-18-imagenet": 11_181_642,
    "resnet-50": 23_528_522,
    "vgg-11": 9_231_114,
    "vit-tiny": 5_362_762,
}
READ_TOKENS = tuple(name for name, (task,) in models.CLASSIFIERS.attributes("task").items() if task in ("text", "language"))
every_classifier = pytest.mark.parametrize("name", models.classifier_names())
READ_PAIRS = ("two-senses",)
every_one_of_images = pytest.mark.parametrize("name", sorted({*models.classifier_names()} - {*READ_TOKENS, *READ_PAIRS}))


def sample(name: str, count: int) -> Tensor:
    """Return inputs of the network: images, tokens, or an image and counts of words in a row."""
    if name in READ_PAIRS:
        return torch.cat([torch.rand(count, 3 * 64), torch.ones(count, 7)], 1)
    if name not in READ_TOKENS:
        return torch.randn(count, 3, 32, 32)
    tokens = torch.randint(5, (count, 7))
    tokens[:, 0] = 4  # the highest
    return tokens


def build(name: str, *, channels: int = 3, size: int = 32) -> nn.Module:
    torch.manual_seed(0)
    if name in (*READ_TOKENS, *READ_PAIRS):
        return models.CLASSIFIERS.load(name)(sample(name, 2).floor(), 5, width=8)
    return models.classifier(name, num_classes=5, in_channels=channels, image_size=size, width=WIDTH.get(name, 8))


@pytest.mark.parametrize(("channels", "size"), [(1, 64), (3, 32), (3, None)], ids=["large", "usual", "smallest"])
@every_one_of_images
def test_images_become_logits(name: str, size: int | None, channels: int) -> None:
    size = size or SMALLEST.get(name, 32)
    logits = build(name, channels=channels, size=size)(torch.randn(2, channels, size, size))
    assert logits.shape == (2, 5)
    assert torch.isfinite(logits).all()


@every_classifier
def test_every_parameter_learns_and_the_seed_decides_them(name: str) -> None:
    model, same = build(name), build(name).state_dict()
    assert all(torch.equal(tensor, same[key]) for key, tensor in model.state_dict().items())
    logits = model(sample(name, 8)).flatten(0, -2)
    F.cross_entropy(logits, torch.arange(len(logits)) % 5).backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()] == []


@every_classifier
def test_float64_stays_float64_and_samples_do_not_see_each_other_in_evaluation(name: str) -> None:
    model = build(name).double().eval()
    x = sample(name, 3)
    logits = model(x.double() if x.is_floating_point() else x)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(model(x[1:2].to(logits.dtype if x.is_floating_point() else x.dtype)), logits[1:2])
    torch.testing.assert_close(model.float()(x).double(), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@every_classifier
def test_fx_traces_it(name: str, training: bool) -> None:
    model = build(name).train(training)
    traced = fx.symbolic_trace(deepcopy(model))
    for batch in (2, 3):  # the trace holds for any batch
        x = sample(name, batch)
        torch.manual_seed(batch)  # of dropout
        found = traced(x)
        torch.manual_seed(batch)
        assert torch.equal(found, model(x))


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

    Watch(fx.symbolic_trace(build(name)), garbage_collect_values=False).run(sample(name, 2))


@every_one_of_images
def test_sizes(name: str) -> None:
    def size(width: int | None) -> int:
        with torch.device("meta"):
            model = models.classifier(name, num_classes=10, in_channels=3, image_size=32, width=width)
        return sum(parameter.numel() for parameter in model.parameters())

    assert size(64) < size(128)
    assert size(None) == PARAMETERS.get(name, size(None))


@pytest.mark.parametrize(
    ("name", "image_size", "width", "wrong"),
    [
        *((name, side - 1, None, "image_size") for name, side in SMALLEST.items()),
        ("vit-tiny", 28, None, "image_size"),
        ("vit-tiny", 32, 100, "width"),
        ("mlp", 32, 0, "width"),
    ],
)
def test_what_a_network_cannot_take_is_refused(name: str, image_size: int, width: int | None, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"{wrong}="):
        models.classifier(name, num_classes=10, in_channels=3, image_size=image_size, width=width)
