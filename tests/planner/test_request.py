from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch

from torchsid.errors import ConfigError
from torchsid.planner import request
from torchsid.planner.forecast import METHODS
from torchsid.planner.model import ModelSpec, this_machine
from torchsid.planner.request import MAX_DEVICES, PlanRequest, Points, end_of_scaling, resolve, sweep, usual_micro_batches


@pytest.fixture(autouse=True, scope="module")
def _traced_once() -> Iterator[None]:
    """What was traced once is not traced again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "trace", cache(request.trace))
        yield


MLP = ModelSpec(name="mlp", classes=10, image_size=8, width=64, depth=2)


def ask(**changes: Any) -> PlanRequest:
    return PlanRequest(**{"model": MLP, **changes})


@pytest.mark.parametrize(
    ("devices", "stages", "data", "expected"),
    [
        ("1xH100", None, None, (1, 1, 1)),
        ("2xH100", None, None, (2, 1, 2)),
        ("4xH100", 2, None, (2, 2, 2)),
        ("2xH100", 4, None, (2, 1, 4)),
        ("4xH100", None, 2, (2, 2, 2)),
    ],
)
def test_what_is_not_said_is_chosen(devices: str, stages: int | None, data: int | None, expected: tuple[int, ...]) -> None:
    found = resolve(ask(devices=devices, stages=stages, data=data)).mesh
    assert (found.ranks, found.data, found.stages) == expected


def test_the_usual_micro_batches_divide_the_samples() -> None:
    assert [usual_micro_batches(samples, ranks) for samples, ranks in ((256, 4), (100, 4), (7, 4), (1, 1))] == [16, 10, 7, 1]


def test_half_the_utilisation_takes_twice_as_long() -> None:
    whole, half = (resolve(ask(utilisation=share)) for share in (1.0, 0.5))
    assert half.speed.forward[0] == 2 * whole.speed.forward[0]
    assert resolve(ask()).utilisation == 0.4


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        (
            {"model": ModelSpec(name="vit-larg"), "devices": "2xH1000", "link": "fast", "optimizer": "adam", "precision": "fp8"},
            ["vit-larg", "H1000", "fast", "adamw", "fp8"],
        ),
        ({"devices": "4xH100", "data": 3, "batch_size": 30}, ["divisor of the 4"]),
        ({"devices": "8xH100", "stages": 3, "data": 1}, ["8 devices"]),
        ({"devices": "8xH100", "data": 4, "batch_size": 30}, ["4 replicas"]),
        ({"micro_batches": 3}, ["3 micro-batches"]),
        ({"devices": "V100"}, ["V100 has float32"]),
        ({"utilisation": 2.0, "measure": True}, ["at most 1", "measured seconds"]),
        ({"devices": "99xH100"}, ["stages 99"]),
        ({"sweep": "width", "measure": True}, ["leave --measure out"]),
        ({"sweep": "depth", "model": ModelSpec(name="vgg-11")}, ["vgg-11"]),
        ({"sweep": "colour"}, ["colour"]),
    ],
)
def test_wrong_requests_are_refused_with_all_problems(changes: dict[str, object], problems: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(ask(**changes))
    assert len(error.value.problems) == len(problems)
    assert all(part in problem for part, problem in zip(problems, error.value.problems, strict=True))


def test_a_measured_device_has_its_part_of_this_machine() -> None:
    found = resolve(ask(devices="2xmeasured", batch_size=8, precision="float32"))
    assert found.mesh.device is this_machine(2, "float32")
    assert found.mesh.device.memory == this_machine(1, "float32").memory / 2
    assert found.mesh.device.flops["float32"] > 1e8


@pytest.mark.parametrize("model", [MLP, ModelSpec(name="vit-tiny", classes=10, image_size=16, width=64, depth=2)])
def test_every_piece_is_measured_and_nothing_is_disturbed(model: ModelSpec) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    found = resolve(ask(model=model, devices="2xH100", batch_size=8, optimizer="momentum", measure=True))
    speed = found.speed
    assert len(speed.forward) == len(speed.backward) == len(speed.heads) == len(found.trace.pieces) > 2
    assert min(*speed.forward, *speed.backward, *speed.heads, speed.bandwidth) > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def swept(axis: str, **changes: object) -> tuple[Points, list[str]]:
    return sweep(resolve(ask(devices="4xH100", batch_size=64, utilisation=1e-3, latency="0s", sweep=axis, **changes)))


def test_devices_from_one_to_thousands() -> None:
    points, _ = swept("devices")
    assert list(points) == [2**n for n in range(MAX_DEVICES.bit_length())]
    for devices, methods in points.items():
        assert all(method.mesh.devices == devices and method.mesh.ranks <= 4 for method in methods.values())
    assert all(end_of_scaling(points, name) for name in METHODS)


def test_a_slow_link_ends_the_scaling_and_is_named() -> None:
    points, _ = swept("devices", link="1kB/s")
    assert end_of_scaling(points, "FSDP") == "to 1, then traffic"
    assert end_of_scaling(points, "SID").startswith("to 1, then ")


@pytest.mark.parametrize(
    ("axis", "values"), [("depth", [2, 4, 8]), ("width", [16, 32, 64, 128, 256]), ("batch", [16, 32, 64, 128, 256])]
)
def test_the_model_or_the_batch_from_a_quarter_to_four_times(axis: str, values: list[int]) -> None:
    points, left_out = swept(axis)
    assert list(points) == values
    # One block is too shallow for four stages.
    assert [note.partition(":")[0] for note in left_out] == (["depth 1"] if axis == "depth" else [])
    rates = [methods["SID"].samples_per_second for methods in points.values()]
    assert axis == "batch" or rates == sorted(rates, reverse=True)


def test_parts_divide_the_batch_of_a_replica() -> None:
    with pytest.raises(ConfigError, match="a replica's 4 samples must be a multiple of the 3 parts"):
        resolve(ask(devices="2xH100", data=2, batch_size=8, parts=3))
    assert resolve(ask(devices="2xH100", data=2, batch_size=8, parts=2)).mesh.parts == 2
