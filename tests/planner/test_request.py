import pytest

from torchsid.errors import ConfigError
from torchsid.planner.presets import ModelSpec
from torchsid.planner.request import Request, resolve, usual_micro_batches

MLP = ModelSpec(name="mlp", classes=10, image_size=8, width=64, depth=2)


def ask(**changes: object) -> Request:
    return Request(**{"model": MLP, **changes})  # type: ignore[arg-type]


def test_what_is_not_said_is_chosen() -> None:
    for devices, stages, data, expected in (
        ("1xH100", None, None, (1, 1, 1)),
        ("2xH100", None, None, (2, 1, 2)),
        ("4xH100", 2, None, (2, 2, 2)),
        ("2xH100", 4, None, (2, 1, 4)),
        ("4xH100", None, 2, (2, 2, 2)),
    ):
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


def test_a_measured_device_and_measured_pieces() -> None:
    found = resolve(ask(devices="2xmeasured", batch_size=8, precision="float32", measure=True))
    assert len(found.speed.forward) == len(found.trace.pieces)
    assert min(*found.speed.forward, *found.speed.backward, found.speed.bandwidth, found.mesh.device.memory) > 0
