from functools import partial

import pytest
import torch
from tests.distributed.workers import in_workers

from torchsid.bench.comparisons import PipelineSettings
from torchsid.bench.pipeline.contenders import (
    DATA_PARALLEL,
    GPIPE,
    ONE_F_ONE_B,
    RIVALS,
    SID_PIPELINE,
    ZERO_BUBBLE,
    ZERO_BUBBLE_V,
    build,
    pipeline_contenders,
)
from torchsid.bench.trainable import build as build_alone
from torchsid.bench.workload import BACKPROP, SID, Procedure, Workload
from torchsid.distributed.world import join


def test_every_schedule_with_every_number_of_micro_batches() -> None:
    found, notes = pipeline_contenders((2, 4), workers=2, stages=8)
    assert notes == []
    names = ["sid, one worker", "sid, one worker, 2 micro-batches", "sid, one worker, 4 micro-batches"]
    assert [each.name for each in found[:3]] == names
    tried = {method: {each.micro_batches for each in found if each.method == method} for method in (SID_PIPELINE, *RIVALS)}
    assert tried == {SID_PIPELINE: {1, 2, 4}, **{method: {2, 4} for method in RIVALS}}
    assert len({each.name for each in found}) == len(found)


def test_what_a_schedule_cannot_do_is_left_out_with_the_reason() -> None:
    found, notes = pipeline_contenders((2, 10), workers=4, stages=6)
    rivals = {(each.method, each.micro_batches) for each in found if each.method in RIVALS}
    assert rivals == {(GPIPE, 2), (GPIPE, 10), (ONE_F_ONE_B, 10), (ZERO_BUBBLE, 10)}
    assert len(notes) == 4
    assert notes[0].startswith("1f1b, 2 micro-batches")
    assert all(note.startswith(ZERO_BUBBLE_V) for note in notes[-2:])
    uneven = ["zero bubble, 7 micro-batches: the schedule takes rounds of 2 micro-batches"]
    assert pipeline_contenders((7,), workers=2, stages=8)[1] == uneven


MLP = Workload(model="mlp", blocks=4, stages=(4,), width=32, batch_size=16, image_size=4)
VIT = Workload(model="vit-blocks", blocks=4, stages=(4,), batch_size=8, image_size=8)
GPT = Workload(model="gpt", blocks=4, stages=(4,), width=16, batch_size=8, context=4, vocabulary=7)
RESNET = Workload(model="resnet-18", stages=(4,), width=2, batch_size=8, image_size=16)
SETTINGS = PipelineSettings(stages=4)
EVEN = {SID: [1.0] * 4, BACKPROP: [1.0] * 4}
ACTIVATIONS = 16 * 32 * 4  # bytes that cross a cut of the MLP a step


def train(rank: int, workload: Workload, contenders: list[Procedure]) -> dict[str, object]:
    """Take two steps each, compare gradients and weights with one process's, and return what else was seen, by method."""
    seen = {}
    with join() as world:
        for contender in contenders:
            trainable, alone = build(workload, contender, SETTINGS, world, EVEN), build_alone(workload, Procedure(BACKPROP))
            assert trainable is not None
            for _ in range(2):
                trainable.step()
                alone.step()
            expected, parameters = dict(alone.module.named_parameters()), dict(trainable.module.named_parameters())
            for name, parameter in parameters.items():
                other = expected[name if name in expected else name.split(".", 2)[2]]
                torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-6)
                torch.testing.assert_close(parameter, other)
            kinds = [each.what for each in trainable.recorder.take()]
            seen[contender.method] = {"compared": len(parameters), "sent": trainable.sent_bytes(), "kinds": kinds}
    return seen


@pytest.mark.parametrize("workload", [MLP, VIT, GPT], ids=lambda workload: workload.model)
def test_all_have_the_gradients_of_one_process(workload: Workload) -> None:
    compared = [Procedure(DATA_PARALLEL), *(Procedure(method, 4, micro_batches=4) for method in RIVALS)]
    both = in_workers(partial(train, workload=workload, contenders=compared))
    whole = len(list(workload.new_model().parameters()))
    for contender in compared:
        first, last = (worker[contender.method] for worker in both)
        assert set(first["kinds"]) == {"forward", "backward", "update"}
        assert first["kinds"].count("update") == 2
        if contender.method == DATA_PARALLEL:
            assert first["compared"] == last["compared"] == whole
            continue
        assert first["compared"] + last["compared"] == whole
        if workload is MLP:
            crossings = 2 if contender.method == ZERO_BUBBLE_V else 1  # of a worker's outputs and of its inputs, in two steps
            assert first["sent"] + last["sent"] == 2 * 2 * crossings * ACTIVATIONS


def step_once(rank: int) -> list[int]:
    trained = []
    with join() as world:
        for method in RIVALS:
            trainable = build(RESNET, Procedure(method, 4, micro_batches=2), SETTINGS, world, EVEN)
            assert trainable is not None
            trainable.step()
            trained.append(sum(parameter.grad is not None for parameter in trainable.module.parameters()))
    return trained


def test_a_network_with_batch_norm_is_trained() -> None:
    whole = len(list(RESNET.new_model().parameters()))
    assert [sum(parts) for parts in zip(*in_workers(step_once), strict=True)] == len(RIVALS) * [whole]


def train_beside_a_rival(rank: int) -> dict[str, object]:
    """Three models one after the other, each with a rival that uses the same workers."""
    kinds, sent = [], []
    with join() as world:
        for workload in (RESNET, GPT, MLP):
            pipeline, rival = (
                build(workload, Procedure(method, 4, number), SETTINGS, world, EVEN)
                for method, number in ((SID_PIPELINE, 1), (GPIPE, 2))
            )
            assert pipeline is not None
            assert rival is not None
            alone = build_alone(workload, Procedure(SID, 4), by="graph")
            for _ in range(3):
                pipeline.step()
                pipeline.flush()
                rival.step()
                alone.step()
            expected, own = dict(alone.module.named_parameters()), dict(pipeline.module.named_parameters())
            assert 0 < len(own) < len(expected)
            assert all(torch.equal(parameter, expected[name]) for name, parameter in own.items())
            kinds.append([each.what for each in pipeline.recorder.take()])
            sent.append(pipeline.sent_bytes())
    return {"kinds": kinds, "sent": sent}


def test_a_pipeline_of_sid_trains_beside_others_as_one_process_does() -> None:
    first, last = in_workers(train_beside_a_rival)
    for worker in (first, last):
        assert worker["kinds"] == 3 * [6 * ["forward", "backward", "update"]]
    assert [count > 0 for count in last["sent"]] == [False, True, False]  # the readout of a language model, which its heads share
    features, beliefs = 16 * 32 * 4, 3 * 16 * 10 * 4
    assert first["sent"][-1] > 3 * (features + beliefs)
