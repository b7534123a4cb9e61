from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim import SGD

from torchsid import StagedCascade
from torchsid.bench.checkpointing import Checkpointed
from torchsid.bench.contenders import Contender, Entry, build, entries, excused
from torchsid.bench.workload import Workload
from torchsid.core.kept_bytes import kept_bytes
from torchsid.errors import CutError
from torchsid.learners.backprop import Backprop

MLP = Workload(model="mlp", stages=(2, 4, 8), width=32, batch_size=8, image_size=4)
RESNET = Workload(model="resnet-18", stages=(2, 8), width=4, batch_size=32, image_size=16)


def test_who_takes_part() -> None:
    names = ["backprop", "checkpointing", "accumulation", "deep supervision", "sid-2", "sid-4", "sid-8"]
    assert [entry.name for entry in entries(MLP)] == names
    stages = {entry.name: entry.stages for entry in entries(MLP)}
    assert (stages["backprop"], stages["checkpointing"], stages["deep supervision"]) == (1, 8, 4)
    assert "deep supervision" not in [entry.name for entry in entries(replace(MLP, stages=(8,)))]


@pytest.mark.parametrize("entry", entries(MLP), ids=lambda entry: entry.name)
def test_steps_update_every_parameter(entry: Entry) -> None:
    contender = build(MLP, entry)
    before = {name: value.clone() for name, value in contender.module.named_parameters()}
    for _ in range(2):  # a residual head begins at zero, and hands no gradient down in the first step
        contender.step()
    unchanged = [name for name, value in contender.module.named_parameters() if torch.equal(value, before[name])]
    assert unchanged == []
    assert (contender.plan is None) == (entry.method not in ("sid", "deep supervision"))


def test_backpropagation_in_pieces_takes_the_same_step() -> None:
    weights = []
    for method, stages in (("backprop", 1), ("checkpointing", 4), ("accumulation", 1)):
        contender = build(MLP, Entry(method, stages))
        for _ in range(2):
            contender.step()
        weights.append(list(contender.module.parameters()))
    for others in weights[1:]:
        for one, other in zip(weights[0], others, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


def test_kept_bytes_fall_with_the_stages() -> None:
    kept = {entry.name: build(RESNET, entry).kept_bytes() for entry in entries(RESNET)}
    assert kept["sid-8"] < 0.5 * kept["backprop"]
    assert kept["sid-8"] < kept["sid-2"] < kept["backprop"] < kept["deep supervision"]
    assert kept["accumulation"] < 0.3 * kept["backprop"]
    assert kept["checkpointing"] < 0.6 * kept["backprop"]


def test_checkpointing_counts_what_it_computes_again() -> None:
    module = Checkpointed(RESNET.new_model(), ["layer4"])  # the first piece is nearly everything
    learner, batch = Backprop(module), RESNET.batch()
    late = Contender(module=module, optimizer=SGD(module.parameters()), step=lambda: learner.backward(*batch))
    assert kept_bytes(module, late.step) < 0.5 * late.kept_bytes()
    assert 0.8 < late.kept_bytes() / build(RESNET, Entry("backprop")).kept_bytes() <= 1.01


def test_kept_bytes_do_not_grow_with_blocks() -> None:
    kept = [build(replace(MLP, blocks=blocks, stages=(blocks,)), Entry("sid", blocks)).kept_bytes() for blocks in (4, 24)]
    assert kept[1] <= 1.05 * kept[0]


@pytest.mark.parametrize("method", ["sid", "deep supervision"])
def test_compiled_means_stages_and_heads(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda part: compiled.append(part))
    module = build(replace(MLP, variant="compiled"), Entry(method, 2)).module
    assert isinstance(module, StagedCascade)
    assert compiled == [*module.segments.modules, *module.heads]


def test_errors_that_are_reasons_and_errors_that_are_not() -> None:
    why: list[str] = []
    with excused(MLP, why):
        raise CutError("no such cut")
    compiled = replace(MLP, variant="compiled")
    with excused(compiled, why):
        raise RuntimeError("no\n compiler")
    assert why == ["no such cut", "fails when compiled: no compiler"]
    with pytest.raises(RuntimeError, match="broken"), excused(MLP, why):
        raise RuntimeError("broken")
