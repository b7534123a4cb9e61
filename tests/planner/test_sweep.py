from functools import cache

import pytest

from torchsid.errors import ConfigError
from torchsid.planner.forecast import METHODS
from torchsid.planner.presets import ModelSpec
from torchsid.planner.request import Planned, Request, resolve
from torchsid.planner.sweep import MAX_DEVICES, Axis, Sweep, sweep

MLP = ModelSpec(name="mlp", classes=10, image_size=8, width=256, depth=4)


def planned(**changes: object) -> Planned:
    settings = {"model": MLP, "devices": "4xH100", "batch_size": 64, "utilisation": 1e-3, "latency": "0s"}
    return resolve(Request(**{**settings, **changes}))  # type: ignore[arg-type]


@cache
def swept(axis: Axis) -> Sweep:
    return sweep(planned(), axis)


def test_devices_from_one_to_thousands() -> None:
    points = swept("devices").points
    assert (points[0].value, points[-1].value) == (1, MAX_DEVICES)
    for point in points:
        assert [method.name for method in point.methods] == list(METHODS)
        assert all(method.ranks * method.data == point.value for method in point.methods)
        assert all(method.ranks <= 4 for method in point.methods)
    assert set(swept("devices").ends) == set(METHODS)


def test_a_slow_link_ends_the_scaling_and_is_named() -> None:
    ends = sweep(planned(link="1MB/s"), "devices").ends
    assert ends["FSDP"] == "to 1, then traffic"
    assert ends["SID"].startswith("to 1, then ")


@pytest.mark.parametrize(
    ("axis", "values"), [("depth", [1, 2, 4, 8, 16]), ("width", [64, 128, 256, 512, 1024]), ("batch", [16, 32, 64, 128, 256])]
)
def test_the_model_or_the_batch_from_a_quarter_to_four_times(axis: Axis, values: list[int]) -> None:
    found = swept(axis)
    left_out = [int(note.split()[1].rstrip(":")) for note in found.notes]
    assert sorted([*(point.value for point in found.points), *left_out]) == values
    rates = [point.methods[0].images_per_second for point in found.points]
    assert axis == "batch" or rates == sorted(rates, reverse=True)


def test_a_model_too_shallow_for_the_devices_is_left_out_with_the_reason() -> None:
    assert swept("depth").notes == ("depth 1: can be cut into 3 stages only, not 4",)


def test_what_cannot_be_swept() -> None:
    with pytest.raises(ConfigError, match="vgg-11 has a fixed one"):
        sweep(planned(model=ModelSpec(name="vgg-11", classes=10, image_size=32, width=8)), "depth")
    with pytest.raises(ConfigError, match="leave --measure out"):
        sweep(planned(devices="1xmeasured", measure=True, utilisation=None, batch_size=4), "width")
