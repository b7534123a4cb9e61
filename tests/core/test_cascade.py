"""What every cascade is, shared or staged."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from tests.cut.classifiers import cut, images
from tests.networks import (
    CLASSES,
    SLOTS,
    batch_at,
    normed_cascade,
    small_batch,
    small_cascade,
    staged_cascade,
)
from torchsid import Cascade
from torchsid.core.cascade import Positions

CASCADES: dict[str, tuple[Callable[[], Cascade], Tensor]] = {
    "shared": (lambda: small_cascade(3), small_batch()[0]),
    "shared, residual": (lambda: small_cascade(3, stage="residual"), small_batch()[0]),
    "shared, own heads": (lambda: normed_cascade(3), small_batch()[0]),
    "shared, features change": (lambda: staged_cascade(3), small_batch()[0]),
    "staged by boundary": (lambda: cut("resnet-18"), images("resnet-18")[0]),
    "staged by graph": (lambda: cut("resnet-18", by="graph"), images("resnet-18")[0]),
}
any_cascade = pytest.mark.parametrize(("make", "x"), CASCADES.values(), ids=CASCADES)


@any_cascade
def test_beliefs_run_from_the_prior_to_the_answer(make: Callable[[], Cascade], x: Tensor) -> None:
    cascade = make()
    assert isinstance(cascade, Cascade)
    cascade.eval()
    log_beliefs = cascade.log_beliefs(x)
    where = (len(x), cascade.num_classes)
    assert log_beliefs.shape == (4, *where)
    torch.testing.assert_close(log_beliefs[0].exp(), torch.full(where, 1 / cascade.num_classes, dtype=torch.float64))
    torch.testing.assert_close(log_beliefs[-1], cascade(x).log_softmax(-1))
    torch.testing.assert_close(log_beliefs.exp().sum(-1), torch.ones(4, len(x), dtype=torch.float64))
    told: list[tuple[int, Tensor]] = []
    first = torch.randn(where, dtype=torch.float64).log_softmax(-1)
    cascade.refine(x, first, on_belief=lambda stage, log_belief: told.append((stage, log_belief)))
    assert [stage for stage, _ in told] == [-1, 0, 1, 2]
    assert torch.equal(told[0][1], first)
    torch.testing.assert_close(torch.stack([log_belief for _, log_belief in told]), cascade.log_beliefs(x, first))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@any_cascade
def test_beliefs_have_single_precision_at_least(make: Callable[[], Cascade], x: Tensor, dtype: torch.dtype) -> None:
    log_beliefs = make().to(dtype).log_beliefs(x.to(dtype))
    assert log_beliefs.dtype == torch.float32
    torch.testing.assert_close(log_beliefs.exp().sum(-1), torch.ones(log_beliefs.shape[:-1]))


@any_cascade
def test_a_state_dict_restores_the_answers_and_a_copy_is_independent(
    make: Callable[[], Cascade], x: Tensor, tmp_path: Path
) -> None:
    trained = make().eval()
    twin = copy.deepcopy(trained)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    trained.log_prior.copy_(torch.arange(1.0, trained.num_classes + 1).log().log_softmax(-1))
    expected = trained.log_beliefs(x)
    assert not torch.allclose(twin.log_beliefs(x), expected)
    save_model(trained, str(tmp_path / "model.safetensors"))
    assert load_model(twin, str(tmp_path / "model.safetensors")) == (set(), [])
    assert torch.equal(twin.log_beliefs(x), expected)
    assert not {id(p) for p in trained.parameters()} & {id(p) for p in twin.parameters()}


@any_cascade
def test_each_stage_parameter_belongs_to_one_stage(make: Callable[[], Cascade], x: Tensor) -> None:
    cascade = make()
    extractor = [f"extractor.{name}" for name, _ in getattr(cascade, "extractor", nn.Identity()).named_parameters()]
    owned = [name for stage in range(3) for name, _ in cascade.named_stage_parameters(stage)]
    assert sorted([*owned, *extractor]) == sorted(name for name, _ in cascade.named_parameters())
    assert all(cascade.get_parameter(name) is each for stage in range(3) for name, each in cascade.named_stage_parameters(stage))


@pytest.mark.parametrize("positions", [(), (SLOTS,), "tokens"], ids=str)
def test_beliefs_are_at_the_positions_asked_for(positions: Positions) -> None:
    x, target, _ = batch_at(positions)
    cascade = small_cascade(3, positions=positions)
    assert cascade.log_beliefs(x).shape == (4, *target.shape, CLASSES)
    assert cascade(x).shape == (*target.shape, CLASSES)
