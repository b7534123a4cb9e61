import itertools
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsid.bench.synthetic import Synthetic
from torchsid.core.staged import StagePlan
from torchsid.planner.devices import Device, Link, Mesh
from torchsid.planner.forecast import FSDP, METHODS, ONE_F_ONE_B, SID, ZB_H1, Forecast, assign, forecast, holding
from torchsid.planner.model import Kept, Trace, on_paper

DEVICE = Device("D", {"float32": 1e12, "bfloat16": 2e12}, 2**30, 1e12)


def even_trace(pieces: int, *, kept: int = 100, crossing: int = 10) -> Trace:
    """A model of equal pieces, 1 MFLOP a sample each, whose heads cost 1 % of a piece and keep a tenth of it."""

    def of(batch: int) -> list[Kept]:
        return [Kept({2 * piece: kept * batch}, {2 * piece + 1: kept // 10 * batch}, 0) for piece in range(pieces)]

    piece = StagePlan(
        cut="p",
        features=(crossing,),
        parameters=1000,
        operations=500_000,
        kept_bytes=kept,
        head="linear",
        head_parameters=10,
        head_operations=5000,
    )
    last = replace(piece, head="own", head_operations=0)
    return Trace((*[piece] * (pieces - 1), last), Synthetic(task="images", image_size=4), (of(2), of(4)))


def mesh(**changes: Any) -> Mesh:
    """Four devices in a pipeline, 64 samples."""
    kinds = {"device": DEVICE, "link": Link(1e12, 0.0), "optimizer": "adamw", "precision": "float32"}
    sizes = {"ranks": 4, "data": 1, "stages": 4, "batch": 64, "micro_batches": 16, "queue": 2}
    return Mesh(**{**kinds, **sizes, **changes})


EIGHT = even_trace(8)
whole = st.integers(0, 9).map(float)  # so that sums are exact


def planned(where: Mesh, trace: Trace = EIGHT) -> dict[str, Forecast]:
    found = forecast(trace, on_paper(trace, where, 0.5), where)
    assert tuple(found) == METHODS
    return found


def slowest(work: list[float], ends: list[float], links: list[float], bounds: tuple[int, ...]) -> float:
    return max(max(sum(work[a:b]) + ends[b - 1], links[b - 1]) for a, b in pairwise(bounds))


@given(rows=st.lists(st.tuples(whole, whole, whole), min_size=1, max_size=8), data=st.data())
def test_no_other_assignment_is_faster(rows: list[tuple[float, float, float]], data: st.DataObject) -> None:
    work, ends, links = map(list, zip(*rows, strict=True))
    groups = data.draw(st.integers(1, len(rows)))
    found = assign(work, ends, links, groups)
    assert [a for a, _ in found] == [0, *(b for _, b in found[:-1])]
    others = itertools.combinations(range(1, len(work)), groups - 1)
    best = min(slowest(work, ends, links, (0, *inner, len(work))) for inner in others)
    assert slowest(work, ends, links, (0, *(b for _, b in found))) == best


def test_where_the_link_is_the_limit_the_work_is_even_all_the_same() -> None:
    assert assign([1] * 6, [0] * 6, [9, 9, 9, 9, 9, 0], 3) == ((0, 2), (2, 4), (4, 6))


def test_an_even_model_is_cut_evenly_and_its_memory_is_counted_by_hand() -> None:
    ranks = planned(mesh())[SID].ranks
    assert [rank.stages for rank in ranks] == [((0, 2),), ((2, 4),), ((4, 6),), ((6, 8),)]
    sent, received = 64 * (4 * 10 + 4 * 3 * 10) + 10_000, 64 * (4 * 10 + 4 * 2 * 10) + 10_000
    assert (ranks[1].sent, ranks[-1].sent) == (sent, 0)
    assert ranks[1].memory == holding(mesh(), 2010, kept=64 * (2 * 100 + 10), messages=2 * sent + received)
    assert list(ranks[1].memory.values())[:3] == [4 * 2010, 4 * 2010, 8 * 2010]


def test_full_sharding_by_hand() -> None:
    fast, slow = planned(mesh())[FSDP], planned(mesh(link=Link(1e9, 1e-3)))[FSDP]
    assert fast.ranks[0].memory == holding(mesh(), 2000, kept=16 * 8 * 100, messages=2 * 4 * 1000)
    assert fast.sent == 3 * 3 / 4 * 4 * 8000
    update = 4 * 2000 * 7 / 1e12
    assert fast.seconds == pytest.approx(16 * 8 * 6e-6 + update)
    traffic = fast.sent / 1e9 + 3 * 8 * 2 * 1e-3  # eight pieces, three collectives each of two rounds
    assert (slow.seconds, slow.limit) == (pytest.approx(traffic + update), "traffic")
    few = planned(mesh(batch=2, micro_batches=2))[FSDP].step  # on four devices
    assert few["batch"] == pytest.approx(few["work"], rel=0.01)


def test_the_step_of_an_even_model_by_hand() -> None:
    found = planned(mesh())
    update, trunk, head = 4 * 2010 * 7 / 1e12, 64 * 2 * 6e-6, 64 * 6e-8
    assert found[SID].seconds == pytest.approx(trunk + head + update)
    assert found[SID].efficiency == pytest.approx(found[SID].samples_per_second / (4 / (8 * 6e-6)))
    assert found[ONE_F_ONE_B].seconds == pytest.approx((16 + 4 - 1) / 16 * trunk + 4 * 2000 * 7 / 1e12, rel=1e-3)
    assert found[ONE_F_ONE_B].limit == "bubble"
    assert found[ONE_F_ONE_B].ranks[0].memory["kept"] == 4 * 4 * 2 * 100  # under way, samples of a micro-batch, pieces, bytes


def test_more_stages_than_devices() -> None:
    first = planned(mesh(stages=8))[SID].ranks[0]
    assert first.stages == ((0, 1), (1, 2))
    assert (first.parameters, first.memory["gradients"], first.memory["kept"]) == (2020, 4 * 1010, 64 * 110)  # one stage at a time


def test_replicas_share_the_batch_and_exchange_gradients() -> None:
    alone, twice = planned(mesh()), planned(mesh(data=2, batch=128))
    for name in (SID, ONE_F_ONE_B, ZB_H1):
        before, after = alone[name], twice[name]
        assert after.memory == before.memory
        assert after.step["gradients"] > 0
        assert after.sent > before.sent
        assert after.samples_per_second < 2 * before.samples_per_second
    assert "gradients" not in twice[FSDP].step


@given(pieces=st.integers(1, 8), ranks=st.integers(1, 8), bandwidth=st.floats(1e6, 1e12), latency=st.floats(0, 1))
def test_nothing_is_more_efficient_than_the_work_alone(pieces: int, ranks: int, bandwidth: float, latency: float) -> None:
    ranks = min(ranks, pieces)
    where = mesh(ranks=ranks, stages=ranks, link=Link(bandwidth, latency))
    for method in planned(where, even_trace(pieces)).values():
        assert 0 < method.efficiency <= 1 + 1e-9
        assert all(part >= -1e-12 for part in method.step.values())


def test_sid_needs_no_backward_traffic() -> None:
    found = planned(mesh(link=Link(2e7, 0.0)), even_trace(8, crossing=100))
    assert found[SID].samples_per_second > found[ONE_F_ONE_B].samples_per_second


def test_parts_of_a_batch_keep_less_and_send_as_much() -> None:
    whole, parts = planned(mesh(stages=8)), planned(mesh(stages=8, parts=16))
    before, after = whole[SID].ranks[1], parts[SID].ranks[1]
    assert after.memory["kept"] == before.memory["kept"] / 16
    assert after.memory["gradients"] == 4 * after.parameters  # of both its stages, until the last part
    assert after.sent == pytest.approx(before.sent + 15 * 10_000)  # a header each
    assert parts[SID].seconds == pytest.approx(whole[SID].seconds, rel=1e-3)
    assert parts[FSDP].memory < whole[FSDP].memory
    assert parts[FSDP].sent == 16 * whole[FSDP].sent
    for name in (ONE_F_ONE_B, ZB_H1):
        assert parts[name] == replace(whole[name], mesh=parts[name].mesh)


def test_latency_is_waited_for_at_every_part() -> None:
    found = [planned(mesh(link=Link(1e12, 1.0), parts=parts, queue=4))[SID].seconds for parts in (1, 8)]
    assert found == pytest.approx([1 / 4, 8 / 4], rel=0.01)
