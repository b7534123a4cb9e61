import copy
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.networks import assert_same_gradients, gradients
from torchsid import SID, staged_cascade
from torchsid.anytime import EarlyExit
from torchsid.cut.boundary import Boundaries, replace_tensors, tensors_of
from torchsid.errors import CutError

from .toys import CLASSES, TARGET, Chain, SharedReLU, SometimesSkips, TwoTensorsCross, X


def untouched(stage: int, tensors: list[Tensor]) -> list[Tensor]:
    return tensors


def test_stages_close_in_order_with_what_crosses() -> None:
    model = Chain()
    seen: list[tuple[int, list[Tensor]]] = []

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        seen.append((stage, tensors))
        return tensors

    Boundaries(("a", "c")).run(model, X, close)
    assert [stage for stage, _ in seen] == [0, 1, 2]
    torch.testing.assert_close(seen[0][1], [model.a(X)])
    torch.testing.assert_close(seen[2][1], [model(X)])


def test_the_model_goes_on_with_what_close_returns() -> None:
    model, logits = Chain(), []

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        logits[:] = tensors
        return [torch.zeros_like(tensor) for tensor in tensors]

    Boundaries(("b",)).run(model, X, close)
    torch.testing.assert_close(logits[0], model.d(model.c(torch.zeros(6, 8)).relu()))


def test_all_tensors_that_a_submodule_returns_cross() -> None:
    shapes: list[list[torch.Size]] = []

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        shapes.append([tensor.shape for tensor in tensors])
        return [tensor.detach() for tensor in tensors]

    Boundaries(("b",)).run(TwoTensorsCross(), X, close)
    assert shapes == [[(6, 8), (6, 3)], [(6, CLASSES)]]


def test_what_a_body_returns_beside_its_output_may_be_of_earlier_stages() -> None:
    class Body(Chain):
        def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
            hidden = [self.a(x)]
            hidden.append(self.b(hidden[-1]).relu())
            return self.c(hidden[-1]), hidden

    class Tells(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.out = Body(), nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> dict[str, object]:
            output, hidden = self.body(x)
            return {"logits": self.out(output.relu()), "hidden": hidden}

    model = Tells()
    for window in (1, 2):
        found = []
        for end in ("body", "body.c"):
            torch.manual_seed(0)
            cascade = staged_cascade(copy.deepcopy(model), CLASSES, ["body.a", end], X, head="linear", max_head_share=9.0)
            SID(cascade, window=window).backward(X, TARGET)
            found.append(cascade)
        assert_same_gradients(found[0], gradients(found[1]), 0.0)


def test_no_hook_is_left() -> None:
    model = Chain()

    def fail(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        raise RuntimeError("stop")

    model.a.register_forward_hook(lambda *_: None)  # of someone else, which stays
    Boundaries(("a", "b")).run(model, X, untouched)
    with pytest.raises(RuntimeError, match="stop"):
        Boundaries(("a", "b")).run(model, X, fail)
    assert [name for name, module in model.named_modules() if module._forward_hooks] == ["a"]
    assert len(model.a._forward_hooks) == 1


def test_a_cut_that_runs_twice_is_named() -> None:
    with pytest.raises(
        CutError, match=r"the model came past relu, relu, but the cuts are relu: cut at submodules that each forward"
    ):
        Boundaries(("relu",)).run(SharedReLU(), X, untouched)


def test_cuts_in_another_order_are_named() -> None:
    with pytest.raises(CutError, match="came past a, but the cuts are b, a"):
        Boundaries(("b", "a")).run(Chain(), X, untouched)


def test_a_cut_that_a_batch_does_not_pass_is_named() -> None:
    boundaries, model = Boundaries(("b",)), SometimesSkips()
    boundaries.run(model, X.abs(), untouched)
    with pytest.raises(CutError, match="did not come past 'b': cut at submodules that every forward pass runs"):
        boundaries.run(model, -X.abs(), untouched)


class Checkpointed(nn.Module):
    """A block that runs within activation checkpointing, hooks and all, as those of Hugging Face models do."""

    keeps = False

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop = nn.Linear(8, 8), nn.Dropout(0.3)

    def __call__(self, x: Tensor) -> Tensor:
        run = super().__call__
        return run(x) if self.keeps else checkpoint(run, x, use_reentrant=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.layer(x).relu())


class Chained(Checkpointed):
    """One that can be cut in its middle; what follows keeps more for backward where the graph goes on behind the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(self.layer(x)).relu())


@pytest.mark.parametrize("cuts", [("1", "2"), ("1", "2.layer")])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_stages_within_activation_checkpointing_have_the_gradients_of_those_without(window: int, cuts: tuple[str, ...]) -> None:
    model = nn.Sequential(nn.Linear(4, 8), Checkpointed(), Chained(), Checkpointed(), nn.Linear(8, CLASSES))
    cascade = staged_cascade(model, CLASSES, cuts, X, max_head_share=9.0)
    assert cascade.plan.stages[1].kept_bytes < cascade.plan.stages[1].operations  # nothing of the layer, but its input
    expected = {}
    for keeps in (True, False):
        for block in model[1:4]:
            block.keeps = keeps
        cascade.zero_grad()
        torch.manual_seed(0)
        SID(cascade, window=window).backward(X, TARGET)
        assert_same_gradients(cascade, expected or gradients(cascade), 0.0)
        expected = gradients(cascade)


class Padded(nn.Module):
    """A transformer of PyTorch's own layers, which in evaluation would run fused, on nested tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(9, 8), nn.Linear(8, CLASSES)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, 0.0, batch_first=True), 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.encoder(self.embed(ids), src_key_padding_mask=ids == 0).mean(1))


def test_transformers_answer_in_evaluation_as_they_were_trained() -> None:
    ids = torch.randint(1, 9, (6, 7))
    ids[:, 5:] = 0
    cascade = staged_cascade(Padded(), CLASSES, ("encoder.layers.0", "encoder.layers.1"), ids, max_head_share=9.0)
    trained = SID(cascade).backward(ids, TARGET).log_belief
    cascade.eval()
    with torch.no_grad():
        for answer in (
            cascade(ids).log_softmax(-1),
            cascade.log_beliefs(ids)[-1],
            SID(cascade).log_beliefs(ids)[-1],
            EarlyExit(cascade, "confidence>1")(ids).log_belief,
        ):
            torch.testing.assert_close(answer, trained)
    assert torch.backends.mha.get_fastpath_enabled()


STRUCTURES = [
    torch.ones(2),
    (torch.ones(2), torch.arange(3), None),
    [torch.ones(2), {"a": torch.zeros(1), "b": "text"}],
    OrderedDict(x=torch.ones(2), mask=torch.ones(2, dtype=torch.bool)),
    None,
]


@pytest.mark.parametrize("output", STRUCTURES, ids=lambda output: type(output).__name__)
def test_other_tensors_take_the_places_of_the_old(output: object) -> None:
    before = copy.deepcopy(output)
    tensors = tensors_of(output)
    assert all(tensor.is_floating_point() for tensor in tensors)
    replaced = replace_tensors(output, [tensor + 5 for tensor in tensors])
    assert type(replaced) is type(output)
    torch.testing.assert_close(tensors_of(replaced), [tensor + 5 for tensor in tensors])
    torch.testing.assert_close(tensors_of(output), tensors_of(before))
