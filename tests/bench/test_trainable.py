from dataclasses import replace

import pytest
import torch
from tests.core.recorder import ProcessorGraphs
from tests.networks import assert_same_gradients, gradients, small_batch, small_cascade
from torch.optim import SGD

from torchsid import LocalObjective, StagedCascade
from torchsid.bench.recorder import Recorder, seconds_by_kind
from torchsid.bench.trainable import GRADIENTS, Checkpointed, Reference, Trainable, build
from torchsid.bench.workload import SHARED, SID, TWO_PHASE, Procedure, Workload, contenders
from torchsid.core import beliefs, capture
from torchsid.learners import sid
from torchsid.learners.backprop import Backprop

MLP = Workload(model="mlp", stages=(2, 4, 8), width=32, batch_size=8, image_size=4)
RESNET = Workload(model="resnet-18", stages=(2, 8), width=4, batch_size=32, image_size=16)
SHARED_MLP = Workload(model=SHARED, stages=(3,), width=8, batch_size=8, image_size=4)


@pytest.mark.parametrize("workload", [MLP, SHARED_MLP], ids=["cut", "shared"])
def test_steps_update_every_parameter(workload: Workload) -> None:
    for contender in contenders(workload):
        trainable = build(workload, contender)
        before = {name: value.clone() for name, value in trainable.module.named_parameters()}
        for _ in range(2):  # a residual head begins at zero, and hands no gradient down in the first step
            trainable.step()
        assert not [name for name, value in trainable.module.named_parameters() if torch.equal(value, before[name])], contender
        assert isinstance(trainable.module, StagedCascade) == (contender.method in ("sid", "deep supervision"))


@pytest.mark.parametrize(
    ("workload", "same"),
    [
        (MLP, [Procedure("backprop"), Procedure("checkpointing", 4), Procedure("accumulation", micro_batches=4)]),
        (MLP, [Procedure(SID, 4), Procedure(SID, 4, micro_batches=2)]),
        (SHARED_MLP, [Procedure(method, 3) for method in ("reference", "two_phase", "streaming", "batched")]),
    ],
    ids=["end to end", "sid", "shared"],
)
def test_ways_that_compute_the_same_take_the_same_step(workload: Workload, same: list[Procedure]) -> None:
    weights = []
    for contender in same:
        trainable = build(workload, contender)
        for _ in range(2):
            trainable.step()
        weights.append(list(trainable.module.parameters()))
    tolerance = 1e-3 if workload.shared else 1e-6  # Adam's first step is the sign of a gradient
    for others in weights[1:]:
        for one, other in zip(weights[0], others, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-5, atol=tolerance)


def test_kept_bytes_fall_with_the_stages() -> None:
    kept = {each.name: build(RESNET, each).kept_bytes() for each in contenders(RESNET)}
    assert kept["sid-8"] < 0.5 * kept["backprop"]
    assert kept["sid-8"] < kept["sid-2"] < kept["backprop"] < kept["deep supervision"]
    assert kept["accumulation"] < 0.3 * kept["backprop"]
    assert kept["checkpointing"] < 0.6 * kept["backprop"]


def test_checkpointing_counts_what_it_computes_again() -> None:
    module = Checkpointed(RESNET.new_model(), ["layer4"])  # the first piece is nearly everything
    learner, batch, optimizer = Backprop(module), RESNET.batch(), SGD(module.parameters())
    late = Trainable(module=module, step=lambda: (learner.backward(*batch), optimizer.step()), recorder=Recorder())
    assert 0.8 < late.kept_bytes() / build(RESNET, Procedure("backprop")).kept_bytes() <= 1.01


@pytest.mark.parametrize(
    ("workload", "contender", "kinds"),
    [
        (MLP, Procedure(SID, 2), 2 * ["forward", "backward", "update"]),
        (MLP, Procedure(SID, 2, micro_batches=2), 2 * 2 * ["forward", "backward"] + ["update"]),
        (MLP, Procedure("backprop"), ["forward", "backward", "update"]),
        (MLP, Procedure("accumulation", micro_batches=2), 2 * ["forward", "backward"] + ["update"]),
        (MLP, Procedure("deep supervision", 2, window=2), ["gradients", "update"]),
        (SHARED_MLP, Procedure("streaming", 3), ["gradients", "update", "gradients", "extractor update"]),
        (
            SHARED_MLP,
            Procedure(TWO_PHASE, 3),
            ["phase 1", "extractor", "phase 1", "extractor", "phase 2", "extractor", "update", "phase 1", "extractor update"],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Procedure) else None,
)
def test_hooks_tell_what_a_step_is_doing(workload: Workload, contender: Procedure, kinds: list[str]) -> None:
    trainable = build(workload, contender, by="graph")
    for _ in range(2):
        intervals = trainable.watched_step()
    told = [each.what for each in intervals]
    merged = [what for place, what in enumerate(told) if place == 0 or what != told[place - 1]]
    assert merged[: len(kinds)] == kinds
    assert set(merged[len(kinds) :]) <= {trainable.recorder.rest, "update"}  # what is left when the last update is done
    assert sum(seconds_by_kind(intervals).values()) == pytest.approx(intervals[-1].end - intervals[0].start)


@pytest.mark.parametrize("workload", [replace(MLP, stages=(2,), blocks=2, variant="bfloat16"), SHARED_MLP], ids=["cut", "shared"])
def test_a_captured_step_is_the_step(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beliefs, "readable", lambda tensor: False)  # as on a device
    for contender in contenders(workload):
        graphs = ProcessorGraphs()
        monkeypatch.setattr(capture, "recorder_of", lambda device, graphs=graphs: graphs)
        captured = build(replace(workload, variant=f"{workload.variant}+captured"), contender)
        kept = captured.kept_bytes()  # of an eager step: a replayed one keeps nothing
        captured.step()
        assert (graphs.recorded, graphs.replays) == (1, 2), contender
        eager = build(workload, contender)
        assert kept == eager.kept_bytes()
        for _ in range(capture.WARM_UP + 2):
            eager.step()
        for one, other in zip(captured.module.parameters(), eager.module.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("workload", "contender"), [(MLP, Procedure(SID, 4)), (SHARED_MLP, Procedure(TWO_PHASE, 3))])
def test_a_watched_step_is_the_step(workload: Workload, contender: Procedure) -> None:
    watched, alone = build(workload, contender), build(workload, contender, follow=False)
    for _ in range(2):
        watched.watched_step()
        assert {each.what for each in alone.watched_step()} == {GRADIENTS}
    assert all(map(torch.equal, watched.module.parameters(), alone.module.parameters()))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")
def test_a_compiled_cascade_takes_the_same_step() -> None:
    small = replace(MLP, stages=(2,), width=8)
    eager, compiled = (build(replace(small, variant=variant), Procedure(SID, 2)) for variant in ("float32", "compiled"))
    eager.step()
    compiled.step()
    for one, other in zip(eager.module.parameters(), compiled.module.parameters(), strict=True):
        assert other.detach().numpy() == pytest.approx(one.detach().numpy(), abs=1e-5)


FEW = replace(RESNET, batch_size=4)
CUTS = ("layer1", "layer2.0", "layer4")


def test_all_pieces_but_the_last_run_twice() -> None:
    x, target = FEW.batch()
    checkpointed = Checkpointed(FEW.new_model(), CUTS)
    runs: list[str] = []
    for name in ("conv1", "layer2.0.conv1", "layer4.1.conv1", "fc"):
        checkpointed.model.get_submodule(name).register_forward_hook(lambda module, args, output, name=name: runs.append(name))
    Backprop(checkpointed).backward(x, target)
    forward = ["conv1", "layer2.0.conv1", "layer4.1.conv1", "fc"]
    assert runs == [*forward, "layer4.1.conv1", "layer2.0.conv1", "conv1"]


@pytest.mark.parametrize("stage", ["plain", "residual"])
@pytest.mark.parametrize("alpha", [0.3, "linear:1.0:0.2"])
def test_it_gives_the_gradients_and_the_loss_of_the_schedules(stage: str, alpha: float | str) -> None:
    cascade, (x, target) = small_cascade(stage=stage), small_batch()
    output = sid.SID(cascade, alpha=alpha).backward(x, target)
    expected = gradients(cascade)
    cascade.zero_grad()
    loss = Reference(cascade, LocalObjective(alpha=alpha)).backward(x, target)
    torch.testing.assert_close(loss, output.loss, atol=1e-12, rtol=1e-12)
    assert_same_gradients(cascade, expected, tolerance=1e-10)
