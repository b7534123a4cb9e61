import copy

import pytest
import torch
from torch import Tensor, nn

from tests.networks import assert_same_gradients, gradients
from torchsid import SID, StagedCascade, staged_cascade
from torchsid.cut.graph import GraphSegments
from torchsid.errors import CutError

from .classifiers import CASES, classifier, cut, images, randomised
from .toys import (
    CLASSES,
    TARGET,
    Chain,
    ControlFlow,
    FunctionalDropout,
    LongSkip,
    Scaled,
    TwiceInTraining,
    TwoInputs,
    TwoTensorsCross,
    X,
)


def run(segments: GraphSegments, model: nn.Module, x: object) -> list[list[Tensor]]:
    """What crosses at every cut, and the logits."""
    seen = []

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        seen.append(tensors)
        return tensors

    segments.run(model, x, close)
    return seen


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", CASES)
def test_the_stages_are_the_model(name: str, training: bool) -> None:
    model, (x, _) = classifier(name).train(training), images(name)
    pieces = CASES[name].pieces(model)
    segments = GraphSegments(model, CASES[name].cuts)
    torch.manual_seed(3)
    found = run(segments, model, x)
    torch.manual_seed(3)
    for tensors, piece in zip(found, pieces, strict=True):
        x = piece(x)
        torch.testing.assert_close(tensors, [x])


def test_a_skip_is_carried_along_behind_the_output() -> None:
    model = LongSkip()
    first, logits = run(GraphSegments(model, ("b",)), model, X)
    kept = model.a(X).relu()
    torch.testing.assert_close(first, [model.b(kept), kept])
    torch.testing.assert_close(logits, [model(X)])


def test_a_carried_skip_is_trained_by_no_later_loss() -> None:
    cascade = randomised(staged_cascade(LongSkip(), CLASSES, ["b"], X, by="graph", head="linear", max_head_share=9.0))
    SID(cascade).backward(X, TARGET, scale=torch.tensor([0.0, 1.0]))
    assert not any(p.grad is not None and p.grad.any() for _, p in cascade.named_stage_parameters(0))
    assert cascade.model.c.weight.grad.any()


def test_the_head_reads_what_it_was_built_for() -> None:
    """The submodule returns two tensors: as by="boundary", the head reads the first."""
    cascade = staged_cascade(TwoTensorsCross(), CLASSES, ["b"], X, by="graph", head="linear", max_head_share=9.0)
    output = SID(cascade).backward(X, TARGET)
    assert output.log_belief.shape == (6, CLASSES)


class Recurrent(nn.Module):
    """Its layers return tuples in tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.LSTM(4, 8, batch_first=True), nn.LSTM(8, 8, batch_first=True), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.second(self.first(x[:, None])[0])
        return self.out(h[:, 0])


def test_a_tuple_that_crosses_is_cut_like_its_tensors() -> None:
    cascade = staged_cascade(Recurrent(), CLASSES, ["first"], X, by="graph", head="linear", max_head_share=9.0)
    assert cascade.plan.stages[0].features == (1, 8)
    SID(cascade).backward(X, TARGET)
    assert all(parameter.grad is not None for parameter in cascade.parameters())


def test_the_stages_share_the_models_parameters() -> None:
    model = classifier("vit with dropout")
    segments = GraphSegments(model, CASES["vit with dropout"].cuts)
    own = {id(parameter) for parameter in model.parameters()}
    shared = [id(parameter) for module in segments.modules for parameter in module.parameters()]
    assert set(shared) == own
    assert len(shared) == len(own)  # each in one stage


class Buffered(Chain):
    """Reads a buffer and a parameter of its own by name."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((8,), 2.0))
        self.shift = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.scale * self.b(self.a(x)).relu() + self.shift))


@pytest.mark.parametrize("assign", [False, True], ids=["copied", "assigned"])
def test_a_state_dict_or_precision_that_comes_later_counts(assign: bool) -> None:
    model, other = Buffered(), Buffered()
    other.scale.fill_(-1.0)
    nn.init.constant_(other.shift, 7.0)
    segments = GraphSegments(model, ("a",))
    model.load_state_dict(copy.deepcopy(other.state_dict()), assign=assign)
    torch.testing.assert_close(run(segments, model, X)[-1], [other(X)])
    model.double()
    torch.testing.assert_close(run(segments, model, X.double())[-1], [model(X.double())])


def test_train_and_eval_reach_the_stages() -> None:
    cascade, (x, _) = cut("vit with dropout", by="graph"), images("vit with dropout")
    torch.testing.assert_close(cascade.eval().log_beliefs(x), cascade.log_beliefs(x))
    assert not torch.allclose(cascade.train().log_beliefs(x), cascade.log_beliefs(x))


def test_inputs_in_every_form_and_their_defaults() -> None:
    model, two, shift = Scaled(), TwoInputs(), torch.ones(6, 8)
    for x in (X, (X,), {"x": X}):
        torch.testing.assert_close(run(GraphSegments(model, ("a",)), model, x)[-1], [model(X)])
    for both in ((X, shift), {"shift": shift, "x": X}):
        torch.testing.assert_close(run(GraphSegments(two, ("b",)), two, both)[-1], [two(X, shift)])


@pytest.mark.parametrize(
    ("x", "given"),
    [(X, "x"), ({"x": X}, "x"), ({"x": X, "shift": X, "mask": X}, "x, shift, mask")],
    ids=["one", "a name", "too many"],
)
def test_inputs_that_do_not_fit_are_named(x: object, given: str) -> None:
    model = TwoInputs()
    with pytest.raises(CutError, match=f"the model takes x, shift, but was given {given}"):
        run(GraphSegments(model, ("b",)), model, x)


def test_a_model_that_cannot_be_traced_is_told_what_to_use() -> None:
    with pytest.raises(CutError, match=r"ControlFlow cannot be traced by torch.fx: .*control flow; use by='boundary', which runs"):
        GraphSegments(ControlFlow(), ("a",))


class Autocast(Chain):
    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.enabled):
            h = self.b(self.a(x))
        return self.d(self.c(h.float()))


@pytest.mark.parametrize("enabled", [True, False])
def test_autocast_within_the_model_is_not_lost(enabled: bool) -> None:
    with pytest.raises(
        CutError, match=r"Autocast cannot be traced by torch.fx: torch.autocast within its forward would be lost; use"
    ):
        GraphSegments(Autocast(enabled), ("a",))


class FrozenEnd(Chain):
    """Ends its second layer with something that has no gradient, and is switched off where the cut is."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.b(self.a(x))
        with torch.no_grad():
            scale = self.c(h).mean()
        return self.d(h * scale)


def test_autograd_is_off_where_the_model_switches_it_off() -> None:
    model = FrozenEnd()
    for end in ("a", "b"):
        segments = GraphSegments(model, (end,))
        logits = run(segments, model, X)[-1][0]
        torch.testing.assert_close(logits, model(X))
        model.zero_grad()
        logits.sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == ["c.weight", "c.bias"]
        with torch.no_grad():
            assert not run(segments, model, X)[-1][0].requires_grad
    with pytest.raises(RuntimeError):
        run(segments, model, X[:, :3])
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("model", "node"), [(FunctionalDropout(), "dropout"), (TwiceInTraining(), "mul")], ids=["dropout", "if"])
@pytest.mark.parametrize("training", [True, False])
def test_a_mode_that_would_be_baked_in_is_refused(model: nn.Module, node: str, training: bool) -> None:
    model.train(training)
    with pytest.raises(CutError, match=f"would bake the train or eval mode in at {node}.*or by='boundary'"):
        GraphSegments(model, ("a",))
    assert model.training == training


@pytest.mark.parametrize("cuts", [("zz",), ("b", "a")], ids=["unknown", "out of order"])
def test_cuts_that_the_graph_does_not_have_are_named(cuts: tuple[str, ...]) -> None:
    with pytest.raises(CutError, match=f"the graph does not run '{cuts[-1]}', or not behind the cuts before it"):
        GraphSegments(Chain(), cuts)


@pytest.mark.slow
def test_compiled_stages_have_the_same_gradients() -> None:
    eager, batch = cut("mlp", by="graph").eval(), images("mlp")
    compiled: StagedCascade = copy.deepcopy(eager)
    assert isinstance(compiled.segments, GraphSegments)
    for module in compiled.segments.modules:
        module.compile(backend="aot_eager")
    for cascade in (eager, compiled):
        SID(cascade).backward(*batch)
    assert_same_gradients(compiled, gradients(eager), 1e-10)
    assert list(compiled.state_dict()) == list(eager.state_dict())
