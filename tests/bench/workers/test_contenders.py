import torch
from tests.distributed.workers import in_workers

from torchsid.bench.pipeline.entries import GPIPE, Entry
from torchsid.bench.workers.contenders import backprop, sid, sid_pipeline
from torchsid.bench.workers.rivals import pipeline
from torchsid.bench.workload import Workload
from torchsid.distributed.world import join

MLP = Workload(model="mlp", blocks=4, stages=(4,), width=32, batch_size=16, image_size=4)
RESNET = Workload(model="resnet-18", stages=(2,), width=2, batch_size=8, image_size=16)


def test_one_worker_records_what_it_does() -> None:
    learners = backprop(MLP), sid(MLP)
    for contender in learners:
        contender.step()
    assert [each.what for each in learners[0].recorder.take()] == ["forward", "backward", "update"]
    assert [each.what for each in learners[1].recorder.take()] == 4 * ["forward", "backward", "update"]


def train_beside_a_rival(rank: int) -> dict[str, object]:
    """Two models one after the other, each with a rival that uses the same workers."""
    kinds, sent = [], []
    with join() as world:
        for workload in (RESNET, MLP):
            seconds = [1.0] * workload.stages[0]
            contender = sid_pipeline(workload, world, seconds, wire="float32", queue=2)
            rival = pipeline(workload, Entry(GPIPE, 2), world, seconds)
            alone = sid(workload)
            for _ in range(3):
                contender.step()
                contender.flush()
                rival.step()
                alone.step()
            expected = dict(alone.module.named_parameters())
            own = dict(contender.module.named_parameters())
            assert 0 < len(own) < len(expected)
            assert all(torch.equal(parameter, expected[name]) for name, parameter in own.items())
            kinds.append([each.what for each in contender.recorder.take()])
            sent.append(contender.sent_bytes())
    return {"kinds": kinds, "sent": sent}


def test_a_pipeline_of_sid_trains_beside_others() -> None:
    first, last = in_workers(train_beside_a_rival)
    for worker in (first, last):
        assert worker["kinds"] == [3 * ["forward", "backward", "update"], 6 * ["forward", "backward", "update"]]
    assert last["sent"] == [0, 0]
    features, beliefs = 16 * 32 * 4, 3 * 16 * 10 * 4
    assert first["sent"][1] > 3 * (features + beliefs)
