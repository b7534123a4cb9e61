from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsid.planner.devices import Link
from torchsid.planner.forecast import FSDP, METHODS, ONE_F_ONE_B, SID, ZB_H1, Forecast, Mesh, Method, forecast
from torchsid.planner.speed import on_paper
from torchsid.planner.trace import Trace

from .samples import DEVICE, even_trace, mesh

EIGHT = even_trace(8)


def planned(where: Mesh, trace: Trace = EIGHT) -> Forecast:
    return forecast(trace, on_paper(trace, where.device, where.precision, 0.5), where)


def of(found: Forecast, name: str) -> Method:
    return found.methods[METHODS.index(name)]


def test_an_even_model_is_cut_evenly_and_its_memory_is_counted_by_hand() -> None:
    found = planned(mesh())
    assert [(rank.start, rank.end) for rank in found.ranks] == [(0, 2), (2, 4), (4, 6), (6, 8)]
    second = found.ranks[1]
    sent, received = 64 * (4 * 10 + 4 * 3 * 10) + 10_000, 64 * (4 * 10 + 4 * 2 * 10) + 10_000
    assert second.sent == sent
    memory = second.memory
    assert (memory.parameters, memory.gradients, memory.optimizer) == (4 * 2010, 4 * 2010, 8 * 2010)
    assert memory.kept == 64 * (2 * 100 + 10)
    assert memory.messages == 2 * sent + received
    assert found.ranks[-1].sent == 0


def test_the_activations_of_the_first_device_of_1f1b_are_those_of_all_micro_batches_under_way() -> None:
    found = planned(mesh())
    for name in (ONE_F_ONE_B, ZB_H1):
        assert of(found, name).memory.kept == 4 * 4 * 2 * 100  # devices, samples of a micro-batch, pieces, bytes


def test_full_sharding_by_hand() -> None:
    method = of(planned(mesh()), FSDP)
    assert method.memory.parameters == 4 * 8000 / 4
    assert method.memory.kept == 16 * 8 * 100
    assert method.memory.messages == 2 * 4 * 1000
    assert method.sent == 3 * 3 / 4 * 4 * 8000


def test_the_step_of_an_even_model_by_hand() -> None:
    found = planned(mesh())
    update = 4 * 2010 * 7 / 1e12
    trunk, head = 64 * 2 * 6e-6, 64 * 6e-8
    assert of(found, SID).step.seconds == pytest.approx(trunk + head + update)
    bubble = (16 + 4 - 1) / 16
    assert of(found, ONE_F_ONE_B).step.seconds == pytest.approx(bubble * trunk + 4 * 2000 * 7 / 1e12, rel=1e-3)
    assert of(found, ONE_F_ONE_B).limit == "bubble"


def test_more_stages_than_devices() -> None:
    found = planned(mesh(stages=8))
    assert found.ranks[0].stages == ((0, 1), (1, 2))
    assert found.ranks[0].memory.gradients == 4 * 1010  # one stage's
    assert found.ranks[0].memory.kept == 64 * 110
    assert found.ranks[0].parameters == 2020


def test_replicas_share_the_batch_and_exchange_gradients() -> None:
    alone, twice = planned(mesh()), planned(mesh(data=2, batch=128))
    for before, after in zip(alone.methods[:3], twice.methods[:3], strict=True):
        assert after.memory == before.memory
        assert after.step.parts["gradients"] > 0
        assert after.sent > before.sent
        assert after.images_per_second < 2 * before.images_per_second
    assert "gradients" not in of(twice, FSDP).step.parts


@given(
    pieces=st.integers(1, 8),
    ranks=st.integers(1, 8),
    bandwidth=st.floats(1e6, 1e12),
    latency=st.floats(0, 1),
    queue=st.integers(1, 8),
)
def test_nothing_is_more_efficient_than_the_work_alone(
    pieces: int, ranks: int, bandwidth: float, latency: float, queue: int
) -> None:
    ranks = min(ranks, pieces)
    found = planned(mesh(ranks=ranks, stages=ranks, link=Link(bandwidth, latency), queue=queue), even_trace(pieces))
    for method in found.methods:
        assert 0 < method.efficiency <= 1 + 1e-9
        assert all(part >= -1e-12 for part in method.step.parts.values())


def test_sid_needs_no_backward_traffic() -> None:
    slow = Link(2e7, 0.0)
    found = planned(mesh(link=slow), even_trace(8, crossing=100))
    assert of(found, SID).images_per_second > of(found, ONE_F_ONE_B).images_per_second


def test_the_efficiency_is_that_of_devices_that_do_the_work_alone() -> None:
    for where in (mesh(), mesh(data=2, batch=128)):
        ideal = where.devices / (8 * 6e-6)  # images a second
        for method in planned(where).methods:
            assert method.efficiency == pytest.approx(method.images_per_second / ideal)


def test_what_does_not_fit_is_a_result() -> None:
    small = replace(DEVICE, memory=50_000)
    found = planned(mesh(device=small))
    assert not of(found, SID).fits
    assert of(found, SID).limit == "memory"
    assert of(planned(mesh()), SID).fits


def test_fewer_samples_than_devices_leave_devices_idle_in_full_sharding() -> None:
    method = of(planned(mesh(batch=2, micro_batches=2)), FSDP)
    assert method.step.parts["batch"] == pytest.approx(method.step.parts["work"], rel=0.01)
    assert method.limit in ("batch", "traffic")
