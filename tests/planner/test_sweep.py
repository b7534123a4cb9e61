import pytest

from torchsid.planner.forecast import METHODS
from torchsid.planner.presets import ModelSpec
from torchsid.planner.request import Request, resolve
from torchsid.planner.sweep import MAX_DEVICES, Sweep, sweep

MLP = ModelSpec(name="mlp", classes=10, image_size=8, width=64, depth=2)


def swept(axis: str, **changes: object) -> Sweep:
    asked = {"model": MLP, "devices": "4xH100", "batch_size": 64, "utilisation": 1e-3, "latency": "0s", "sweep": axis}
    return sweep(resolve(Request(**{**asked, **changes})))  # type: ignore[arg-type]


def test_devices_from_one_to_thousands() -> None:
    found = swept("devices")
    assert list(found.points) == [2**n for n in range(MAX_DEVICES.bit_length())]
    for devices, methods in found.points.items():
        assert all(method.mesh.devices == devices and method.mesh.ranks <= 4 for method in methods.values())
    assert all(found.end(name) for name in METHODS)


def test_a_slow_link_ends_the_scaling_and_is_named() -> None:
    found = swept("devices", link="1kB/s")
    assert found.end("FSDP") == "to 1, then traffic"
    assert found.end("SID").startswith("to 1, then ")


@pytest.mark.parametrize(
    ("axis", "values"), [("depth", [2, 4, 8]), ("width", [16, 32, 64, 128, 256]), ("batch", [16, 32, 64, 128, 256])]
)
def test_the_model_or_the_batch_from_a_quarter_to_four_times(axis: str, values: list[int]) -> None:
    found = swept(axis)
    assert list(found.points) == values
    if axis == "depth":
        assert [note.partition(":")[0] for note in found.left_out] == ["depth 1"]  # too shallow for four stages
    rates = [methods["SID"].images_per_second for methods in found.points.values()]
    assert axis == "batch" or rates == sorted(rates, reverse=True)
