"""A pipeline of backpropagation computes the gradients of backpropagation."""

from functools import partial

import pytest
import torch
from tests.distributed.workers import in_workers

from torchsid.bench.pipeline.entries import RIVALS, ZERO_BUBBLE_V, Entry
from torchsid.bench.workers.contenders import Contender, backprop, data_parallel
from torchsid.bench.workers.rivals import pipeline
from torchsid.bench.workload import Workload
from torchsid.distributed.world import join

MLP = Workload(model="mlp", blocks=4, stages=(4,), width=32, batch_size=16, image_size=4)
VIT = Workload(model="vit-blocks", blocks=4, stages=(4,), batch_size=8, image_size=8)
RESNET = Workload(model="resnet-18", stages=(4,), width=2, batch_size=8, image_size=16)
EVEN = [1.0, 1.0, 1.0, 1.0]
ACTIVATIONS = 16 * 32 * 4  # bytes that cross a cut of the MLP a step


def compare(contender: Contender, workload: Workload) -> int:
    """Compare gradients and weights after two steps with one process's; the number of parameters compared."""
    alone = backprop(workload)
    for _ in range(2):
        alone.step()
        contender.step()
    expected = dict(alone.module.named_parameters())
    compared = 0
    for name, parameter in contender.module.named_parameters():
        other = expected[name if name in expected else name.split(".stages.")[1].partition(".")[2]]
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(parameter, other)
        compared += 1
    return compared


def train_a_pipeline(rank: int, workload: Workload, entry: Entry) -> dict[str, object]:
    with join() as world:
        contender = pipeline(workload, entry, world, EVEN)
        compared = compare(contender, workload)
        kinds = [each.what for each in contender.recorder.take()]
        return {"compared": compared, "sent": contender.sent_bytes(), "kinds": kinds}


@pytest.mark.parametrize("workload", [MLP, VIT], ids=lambda workload: workload.model)
@pytest.mark.parametrize("method", RIVALS)
def test_gradients_are_those_of_one_process(method: str, workload: Workload) -> None:
    results = in_workers(partial(train_a_pipeline, workload=workload, entry=Entry(method, 4)))
    assert sum(result["compared"] for result in results) == len(list(workload.new_model().parameters()))


@pytest.mark.parametrize("method", RIVALS)
def test_work_and_traffic_are_recorded(method: str) -> None:
    first, last = in_workers(partial(train_a_pipeline, workload=MLP, entry=Entry(method, 2)))
    assert set(first["kinds"]) == {"forward", "backward", "update"}
    assert first["kinds"].count("update") == 2
    crossings = 2 if method == ZERO_BUBBLE_V else 1  # of a worker's outputs and of its inputs, in two steps
    assert first["sent"] + last["sent"] == 2 * 2 * crossings * ACTIVATIONS


def train_in_parallel(rank: int) -> dict[str, object]:
    with join() as world:
        contender = data_parallel(MLP, world)
        return {"compared": compare(contender, MLP), "kinds": [each.what for each in contender.recorder.take()]}


def test_data_parallelism_has_the_gradients_of_one_process() -> None:
    first, last = in_workers(train_in_parallel)
    assert first["compared"] == last["compared"] > 0
    assert first["kinds"] == 2 * ["forward", "backward", "update"]


def step_once(rank: int, entry: Entry) -> int:
    with join() as world:
        contender = pipeline(RESNET, entry, world, EVEN)
        contender.step()
        return sum(parameter.grad is not None for parameter in contender.module.parameters())


@pytest.mark.parametrize("method", RIVALS)
def test_a_network_with_batch_norm_is_trained(method: str) -> None:
    assert sum(in_workers(partial(step_once, entry=Entry(method, 2)))) == len(list(RESNET.new_model().parameters()))
