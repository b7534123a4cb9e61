import pytest
import torch
from torch import nn

from tests.cut.classifiers import CASES, CLASSES, classifier, cut, images
from tests.networks import ReadsBeliefs, assert_untouched, gradients, snapshot
from torchsid import SID, staged_cascade
from torchsid.core.staged import OwnHead, Plan, StagePlan
from torchsid.errors import CutError

every_way = pytest.mark.parametrize("by", ["boundary", "graph"])


@every_way
@pytest.mark.parametrize("name", CASES)
def test_the_model_is_the_one_that_was_given(name: str, by: str) -> None:
    model, (x, _) = classifier(name), images(name)
    before = snapshot(model)
    keys = list(model.state_dict())
    cascade = staged_cascade(model, CLASSES, CASES[name].cuts, x, by=by, max_head_share=100.0)
    assert cascade.model is model
    assert list(cascade.model.state_dict()) == keys
    torch.set_rng_state(before.random)  # the heads were drawn
    assert_untouched(model, before)
    fresh = classifier(name)
    assert not fresh.load_state_dict(cascade.model.state_dict()).missing_keys


@every_way
@pytest.mark.parametrize("name", CASES)
def test_the_deployed_model_gives_the_cascades_logits(name: str, by: str) -> None:
    cascade, batch = cut(name, by=by), images(name)
    SID(cascade, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.05)).step(*batch)
    cascade.eval()
    x = batch[0]
    with torch.no_grad():
        deployed = classifier(name).eval()
        deployed.load_state_dict(cascade.model.state_dict())
        assert torch.equal(deployed(x), cascade(x))
        torch.testing.assert_close(cascade.log_beliefs(x)[-1], deployed(x).log_softmax(-1))


@pytest.mark.parametrize("head", [OwnHead(), ReadsBeliefs()], ids=["as it is", "reads beliefs"])
def test_the_models_own_head(head: nn.Module) -> None:
    cascade, (x, _) = cut("mlp"), images("mlp")
    cascade.heads[-1] = head
    torch.testing.assert_close(cascade(x).log_softmax(-1), cascade.log_beliefs(x)[-1])


def test_stages_and_heads_are_compiled_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda part: compiled.append(part))
    cascade = cut("mlp", by="graph")
    cascade.compile_stages()
    assert compiled == [*cascade.segments.modules, *cascade.heads]
    with pytest.raises(CutError, match="cannot be compiled one by one: cut with by='graph'"):
        cut("mlp").compile_stages()


@every_way
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_any_precision(dtype: torch.dtype, by: str) -> None:
    x, target = images("resnet-18")
    built_in_it = staged_cascade(classifier("resnet-18").to(dtype), CLASSES, 3, x.to(dtype), by=by, max_head_share=100.0)
    for cascade in (built_in_it, cut("resnet-18", by=by).to(dtype)):
        output = SID(cascade).backward(x.to(dtype), target)
        assert output.log_belief.dtype == torch.promote_types(dtype, torch.float32)
        assert torch.isfinite(output.loss)
        assert all(parameter.grad.dtype == dtype and parameter.grad.isfinite().all() for parameter in cascade.parameters())
        assert {parameter.dtype for parameter in cascade.parameters()} == {dtype}


@every_way
def test_autocast_around_measuring_and_training(by: str) -> None:
    cascade, (x, target) = cut("resnet-18", by=by).float(), images("resnet-18")
    learner = SID(cascade)
    with torch.autocast("cpu", torch.bfloat16):
        learner.log_beliefs(x.float())
        output = learner.backward(x.float(), target)
    assert output.log_belief.dtype == torch.float32
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in cascade.parameters())


def test_one_stage_is_the_model_itself() -> None:
    x, target = images("mlp")
    cascade = staged_cascade(classifier("mlp"), CLASSES, 1, x)
    SID(cascade, alpha=1.0).backward(x, target)
    model = classifier("mlp")
    nn.functional.cross_entropy(model(x), target).backward()
    torch.testing.assert_close(gradients(cascade.model), gradients(model))


# The plan


def planned(cut: str, *, operations: int = 2_000_000, head_operations: int = 500_000) -> StagePlan:
    trunk = {"parameters": 12_345, "operations": operations, "kept_bytes": 3 * 2**10}
    return StagePlan(cut=cut, features=(16, 8, 8), head="conv", head_parameters=99, head_operations=head_operations, **trunk)


def test_the_share_of_the_heads() -> None:
    assert Plan((planned("a"), planned("", operations=8_000_000, head_operations=0))).head_share == pytest.approx(0.05)
    assert Plan((planned("", operations=0, head_operations=0),)).head_share == 0


def test_a_plan_prints_as_a_table() -> None:
    head, first, last, sum_of_heads = str(Plan((planned("encoder.layers.10"), planned("", head_operations=0)))).splitlines()
    cells = ["1", "encoder.layers.10", "16x8x8", "12,345", "2.00", "M", "3", "KiB", "conv", "99", "0.50", "M"]
    assert first.split() == cells
    assert head.index("features") == first.index("16x8x8") == last.index("16x8x8")
    assert sum_of_heads == "heads: 198 parameters, 12.5 % of the trunk's multiply-adds"
