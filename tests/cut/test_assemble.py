from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from torchsid import SID, models, staged_cascade
from torchsid.errors import CutError, HeadError
from torchsid.heads.cost import multiply_adds

from .classifiers import CASES, CLASSES, classifier, images
from .toys import TARGET, Chain, Experts, Frozen, LongSkip, Shortcuts, Taps, Tied, TwoInputs, X

every_way = pytest.mark.parametrize("by", ["boundary", "graph"])


def build(model: nn.Module | None = None, stages: int | tuple[str, ...] = 2, example: object = X, **settings: object) -> object:
    settings = {"max_head_share": 9.0, **settings}
    return staged_cascade(Chain() if model is None else model, settings.pop("num_classes", CLASSES), stages, example, **settings)  # type: ignore[arg-type]


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
    assert len(str(cascade.plan).splitlines()) == 5 + bool(cascade.plan.note)


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


@every_way
@pytest.mark.parametrize("how", ["no_grad", "inference_mode"])
def test_a_part_that_runs_without_gradients_is_not_trained(how: str, by: str) -> None:
    cascade = build(Frozen(how), ("b",), by=by)
    assert cascade.owned == (("b.weight", "b.bias"), ("c.weight", "c.bias", "d.weight", "d.bias"))
    assert SID(cascade).backward(X, TARGET).log_belief.requires_grad is False
    assert [name for name, p in cascade.model.named_parameters() if p.grad is None] == ["a.weight", "a.bias"]
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert not cascade(X).requires_grad
        assert not cascade.log_beliefs(X).requires_grad


def test_a_cascade_is_built_under_inference_mode_like_anywhere() -> None:
    model = Chain()
    with torch.inference_mode():
        cascade = build(model, example=torch.ones(2, 4))
    SID(cascade).backward(X, TARGET)


@pytest.mark.parametrize("shortcut", [nn.Identity(), nn.Dropout(0.0), nn.Flatten()], ids=lambda module: type(module).__name__)
def test_no_stage_ends_with_a_shortcut_that_is_the_input_itself(shortcut: nn.Module) -> None:
    model = Shortcuts(shortcut)
    for stages in (2, 3, 4):
        cascade = build(model, stages)
        SID(cascade).backward(X, TARGET)
        assert not any("shortcut" in stage.cut for stage in cascade.plan.stages)
    with pytest.raises(CutError, match=r"cut 'c.shortcut': the output of 'b' crosses beside its output \(a skip connection\)"):
        build(Shortcuts(nn.ReLU()), ("c.shortcut",))


def test_no_stage_ends_with_an_output_that_is_kept_for_later() -> None:
    assert [stage.cut for stage in build(Taps(), 3).plan.stages] == ["a", "b.layer", ""]  # not "b", whose own copy is read later
    with pytest.raises(CutError, match=r"cut 'b': the output of 'b.layer' crosses beside its output"):
        build(Taps(), ("b",))


def test_experts_that_the_example_was_not_sent_to_belong_to_their_stage() -> None:
    cascade = build(Experts(), ("a",))
    assert {name[0] for name in cascade.owned[0]} == {"a"}
    assert len(cascade.owned[1]) == 10


class Fickle(Chain):
    """Takes a skip past `b` in every pass but the first, which is the one that is looked at."""

    passes: ClassVar = [0]

    def forward(self, x: Tensor) -> Tensor:
        self.passes[0] += 1
        h = self.a(x).relu()
        return self.d(self.c(self.b(h).relu() + (h if self.passes[0] > 1 else 0)).relu())


def test_a_leak_that_only_running_the_stages_shows_is_told_when_the_cascade_is_built() -> None:
    with pytest.raises(CutError, match=r"the loss of stage 2 would reach a.weight of stage 1, past the cut .*by='graph'"):
        build(Fickle(), ("b",))


def made_under_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return Chain()


def checkpointed(use_reentrant: bool) -> nn.Module:
    model = Chain()
    forward = model.b.forward
    model.b.forward = lambda x: checkpoint(forward, x, use_reentrant=use_reentrant)
    return model


def fully_sharded() -> nn.Module:
    return type("FSDPChain", (Chain, type("FSDPModule", (), {})), {})()  # as fully_shard makes it


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: nn.DataParallel(Chain()), r"the model is wrapped by DataParallel: cut the model itself \(.module\)"),
        (fully_sharded, "the model is wrapped by FSDPModule: cut the model itself"),
        (lambda: nn.Sequential(nn.DataParallel(nn.Linear(4, 8)), Chain()), "the submodule '0' is wrapped by DataParallel"),
        (lambda: torch.compile(Chain(), backend="eager"), "the model is compiled: cut it as it was, with by='graph', and compile"),
        (made_under_inference_mode, "the model was made under torch.inference_mode, and can never be trained"),
        (lambda: checkpointed(use_reentrant=True), "use_reentrant=True, which hides what it trains: set use_reentrant=False"),
        (lambda: nn.Sequential(nn.LazyLinear(8), nn.Linear(9, 5)), r"cannot run the example of shape \[2, 4\]: mat1 and mat2"),
        (lambda: Chain().forward, "method is no model: give an nn.Module"),
    ],
)
def test_what_hides_a_model_is_named_with_the_way_out(model: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(CutError, match=said):
        build(model(), example=X[:2])


def test_a_scripted_model_is_refused_and_a_scripted_part_is_one_piece() -> None:
    with pytest.warns((DeprecationWarning, FutureWarning), match="script"):
        scripted = torch.jit.script(Chain())
    with pytest.raises(CutError, match="the model is scripted, and its submodules run outside Python"):
        build(scripted)
    model = Chain()
    model.b = scripted.b
    for by in ("boundary", "graph"):
        SID(build(model, 3, by=by)).backward(X, TARGET)


class Graph(Chain):
    """A graph network: its adjacency is sparse, and so is what its second layer returns."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("links", torch.eye(6).to_sparse())
        self.b = nn.Sequential(nn.Linear(8, 8), Sparse())

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(torch.sparse.mm(self.links, self.b(self.a(x)).to_dense())))


class Sparse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.to_sparse()


def test_no_stage_ends_with_a_sparse_tensor() -> None:
    cascade = build(Graph(), 4)
    assert [stage.cut for stage in cascade.plan.stages] == ["a", "b.0", "c", ""]
    SID(cascade).backward(X, TARGET)
    with pytest.raises(CutError, match="cut 'b' returns no tensor that has a gradient"):
        build(Graph(), ("b",))


def test_lazy_layers_get_their_shapes_from_the_example() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(5))
    cascade = build(model, 3)
    SID(cascade).backward(X, TARGET)
    assert all(part.training for part in model.modules())
    assert model[1].num_batches_tracked == 1  # by training


@pytest.mark.parametrize("stages", [np.int64(2), torch.tensor(2), np.array(["a"]), iter(["a"]), {"a": 1}])
def test_stages_may_be_any_integer_or_names_in_any_order(stages: object) -> None:
    assert build(stages=stages, num_classes=np.int32(CLASSES)).depth == 2


def test_a_lopsided_plan_is_told_once() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 999), nn.AdaptiveAvgPool1d(8), nn.Linear(8, 5))
    with pytest.warns(UserWarning, match="one of 2 stages has .* of the work") as told:
        plan = build(model).plan
    assert [warning.filename for warning in told] == [__file__]
    assert str(plan).endswith(plan.note)
    assert plan.note == str(told[0].message)


REFUSED = {
    "half a stage": (CutError, "stages=2.5: give their number, or the names", {"stages": 2.5}),
    "modules": (CutError, r"stages=\[Linear\(.*: give their number, or the names", {"stages": [nn.Linear(1, 1)]}),
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
    "tied": (
        CutError,
        "b.weight, which is c.weight as well, is used on both sides",
        {"model": Tied(), "stages": ("b",), "by": "graph"},
    ),
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
