import pytest

from torchsid.errors import ConfigError
from torchsid.planner.presets import ModelSpec
from torchsid.planner.request import Request, resolve, usual_micro_batches

MLP = ModelSpec(name="mlp", classes=10, image_size=8, width=64, depth=6)


def ask(**changes: object) -> Request:
    return Request(**{"model": MLP, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "mesh"),
    [
        ({}, (1, 1, 1)),
        ({"devices": "4xH100"}, (4, 1, 4)),
        ({"devices": "8xH100", "stages": 4}, (4, 2, 4)),
        ({"devices": "2xH100", "stages": 6}, (2, 1, 6)),
        ({"devices": "8xH100", "data": 4}, (2, 4, 2)),
    ],
)
def test_what_is_not_said_is_chosen(changes: dict[str, object], mesh: tuple[int, int, int]) -> None:
    found = resolve(ask(**changes)).mesh
    assert (found.ranks, found.data, found.stages) == mesh


def test_the_usual_micro_batches_divide_the_samples() -> None:
    assert [usual_micro_batches(samples, ranks) for samples, ranks in ((256, 4), (100, 4), (7, 4), (1, 1))] == [16, 10, 7, 1]


def test_own_operations_and_own_utilisation() -> None:
    whole, half = (resolve(ask(utilisation=share)) for share in (1.0, 0.5))
    assert half.speed.forward[0] == 2 * whole.speed.forward[0]
    assert resolve(ask()).utilisation == 0.4


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        (
            {"model": ModelSpec(name="vit-larg"), "devices": "2xH1000", "link": "fast", "optimizer": "adam", "precision": "fp8"},
            ["unknown model", "unknown device", "link 'fast'", "(did you mean 'adamw'?)", "unknown precision"],
        ),
        ({"devices": "4xH100", "data": 3, "batch_size": 30}, ["data 3: give a divisor of the 4 devices"]),
        ({"devices": "8xH100", "stages": 3, "data": 1}, ["the 8 devices of a pipeline need one each"]),
        ({"devices": "8xH100", "data": 4, "batch_size": 30}, ["give a multiple of the 4 replicas"]),
        ({"micro_batches": 3}, ["must be a multiple of the 3 micro-batches"]),
        ({"devices": "V100"}, ["precision bfloat16: V100 has float32"]),
        ({"utilisation": 2.0}, ["a share of the peak above 0, at most 1"]),
        ({"devices": "99xH100", "model": MLP}, ["stages 99: mlp can be cut into 1 to 8"]),
    ],
)
def test_wrong_requests_are_refused_with_all_problems(changes: dict[str, object], problems: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(ask(**changes))
    assert len(error.value.problems) == len(problems)
    assert all(part in problem for part, problem in zip(problems, error.value.problems, strict=True))


def test_a_measured_device_and_measured_pieces() -> None:
    found = resolve(ask(devices="2xmeasured", stages=2, batch_size=8, precision="float32", measure=True))
    assert found.utilisation is None
    assert found.mesh.device.memory > 2**28
    assert len(found.speed.forward) == len(found.trace.pieces)
    assert all(seconds > 0 for seconds in (*found.speed.forward, *found.speed.backward, found.speed.bandwidth))
