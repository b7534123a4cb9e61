import pytest
import torch
from torch import Tensor, nn

from torchsid import SID, models, staged_cascade
from torchsid.errors import CutError, HeadError
from torchsid.heads.cost import multiply_adds

from .classifiers import CASES, CLASSES, classifier, images
from .toys import TARGET, Chain, LongSkip, Tied, TwoInputs, X

every_way = pytest.mark.parametrize("by", ["boundary", "graph"])


def build(model: nn.Module | None = None, stages: int | tuple[str, ...] = 2, example: object = X, **settings: object) -> object:
    settings = {"max_head_share": 9.0, **settings}
    return staged_cascade(model or Chain(), settings.pop("num_classes", CLASSES), stages, example, **settings)  # type: ignore[arg-type]


@every_way
@pytest.mark.parametrize("name", ["simple-cnn", "mlp", "resnet-18", "vgg-11"])
def test_the_plan_tells_what_was_cut(name: str, by: str) -> None:
    model, (x, _) = classifier(name), images(name)
    cascade = staged_cascade(model, CLASSES, CASES[name].cuts, x, by=by, max_head_share=100.0)
    stages = cascade.plan.stages
    assert [stage.cut for stage in stages] == [*CASES[name].cuts, ""]
    assert sum(stage.parameters for stage in stages) == sum(parameter.numel() for parameter in model.parameters())
    assert sum(stage.operations for stage in stages) == multiply_adds(model, x)
    assert stages[-1].features == (CLASSES,)
    assert stages[-1].head_operations == stages[-1].head_parameters == 0
    assert all(stage.kept_bytes > 0 and stage.head_operations > 0 and stage.head_parameters > 0 for stage in stages[:-1])
    assert len(str(cascade.plan).splitlines()) == 5


@pytest.mark.parametrize(("name", "kind"), [("resnet-18", "ThinBody"), ("vit with dropout", "LinearBody"), ("mlp", "MLPBody")])
def test_the_automatic_head_suits_the_features(name: str, kind: str) -> None:
    cascade = staged_cascade(classifier(name), CLASSES, 2, images(name)[0], max_head_share=100.0)
    assert type(cascade.heads[0].body).__name__ == kind


def test_the_automatic_head_is_linear_where_another_costs_too_much() -> None:
    cascade = staged_cascade(classifier("mlp"), CLASSES, 2, images("mlp")[0], max_head_share=0.5)
    assert type(cascade.heads[0].body).__name__ == "LinearBody"


class InPlace(Chain):
    """What `b` and `c` return is changed in place behind them, the latter in train mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.drop(self.c(self.relu(self.b(self.a(x))))))


@every_way
def test_stages_whose_output_is_changed_in_place_are_known(by: str) -> None:
    cuts = ("a", "b", "c")
    assert build(InPlace().eval(), cuts, by=by).overwritten == {1, 2}
    assert build(stages=cuts, by=by).overwritten == set()


def test_a_head_of_ones_own() -> None:
    class Own(nn.Module):
        def __init__(self, width: int, num_classes: int) -> None:
            super().__init__()
            self.linear = nn.Linear(width, num_classes)

        def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
            return self.linear(features) + log_belief

    cascade = build(head=lambda features, num_classes: Own(features.shape[1], num_classes))
    assert isinstance(cascade.heads[0], Own)
    SID(cascade).backward(X, TARGET)


@every_way
def test_one_sample_is_example_enough_and_one_name_is_one_cut(by: str) -> None:
    x, target = images("resnet-18")
    cascade = staged_cascade(classifier("resnet-18"), CLASSES, "layer2", x[:1], by=by)
    SID(cascade).backward(x, target)


@every_way
@pytest.mark.parametrize("batch", [1, 6])
def test_inputs_may_be_many(by: str, batch: int) -> None:
    shift = torch.ones(6, 8)
    for example, x in [
        ((X[:batch], shift[:batch]), (X, shift)),
        ({"x": X[:batch], "shift": shift[:batch]}, {"x": X, "shift": shift}),
    ]:
        SID(build(TwoInputs(), example=example, by=by)).backward(x, TARGET)


def test_parameters_tied_inside_a_stage_are_trained() -> None:
    cascade = build(Tied(), ("a", "c"))
    assert [stage.cut for stage in cascade.plan.stages] == ["a", "c", ""]
    SID(cascade).backward(X, TARGET)
    assert all(parameter.grad is not None for parameter in cascade.parameters())


REFUSED = {
    "way": (CutError, r"unknown by 'grph' \(did you mean 'graph'\?\); allowed: boundary, graph", {"by": "grph"}),
    "balance": (CutError, r"unknown balance 'equl' \(did you mean 'equal'\?\)", {"balance": "equl"}),
    "head": (ValueError, r"unknown head 'con' \(did you mean 'conv'\?\)", {"head": "con"}),
    "head for maps": (
        HeadError,
        r"ends after 'b': head 'conv' cannot read vectors \[B, 8\]: choose",
        {"head": "conv"},
    ),
    "budget": (
        HeadError,
        r"stage 1, which ends after 'b': head 'linear' .* over the budget of 1: .*max_head_share=1e-06",
        {"max_head_share": 1e-6},
    ),
    "classes": (
        CutError,
        r"the model returns logits \[6, 5\], but num_classes=7: its last layer must give",
        {"num_classes": 7},
    ),
    "stages": (CutError, "stages=9: this model can be cut into 1 to 4; it can be cut after a, b, c", {"stages": 9}),
    "name": (CutError, "cut 'zz' is no submodule that the model runs", {"stages": ("zz",)}),
    "example": (CutError, r"the model cannot run the example of shape \[2, 7\]: .*; give example", {"example": torch.zeros(2, 7)}),
    "a list": (ValueError, r"no tensor among the inputs \(list\): give a tensor, a tuple or a mapping", {"example": [X]}),
    "no example": (ValueError, "no tensor among the inputs", {"example": None}),
    "prior": (ValueError, r"log_prior has shape \(3,\); 5 classes need \[5\]", {"log_prior": torch.zeros(3)}),
    "skip": (CutError, r"cut 'b': ReluBackward0 crosses .* use by='graph'", {"model": LongSkip(), "stages": ("b",)}),
    "tied": (CutError, "the parameter b.weight is used on both sides", {"model": Tied(), "stages": ("b",), "by": "graph"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_explained(case: str) -> None:
    error, message, settings = REFUSED[case]
    with pytest.raises(error, match=message):
        build(**{"stages": ("b",) if "head" in case or case == "budget" else 2, **settings})


def test_a_few_rows_of_a_large_tensor_are_an_example_like_any_other() -> None:
    """Kept bytes are counted by storage, and the rows share theirs with the whole."""
    whole = torch.randn(500, 3, 32, 32)
    model = models.classifier("resnet-18", num_classes=10, in_channels=3, image_size=32, width=8)
    plans = [staged_cascade(model, 10, 4, example).plan for example in (whole[:2], whole[:2].clone(), whole[:1])]
    assert plans[0] == plans[1]
    assert [stage.cut for stage in plans[0].stages] == [stage.cut for stage in plans[2].stages]
