from dataclasses import replace
from functools import cache

from torchsid.planner.presets import ModelSpec
from torchsid.planner.request import Request, resolve
from torchsid.planner.sweep import Sweep, sweep
from torchsid.show.figures.scaling import scaling


@cache
def swept() -> Sweep:
    model = ModelSpec(name="mlp", classes=10, image_size=8, width=256, depth=2)
    return sweep(resolve(Request(model=model, devices="2xH100", batch_size=64)), "devices")


def test_every_method_is_drawn_and_named_in_both_panels() -> None:
    drawing = scaling(swept(), "mlp")
    assert drawing.title == "mlp: scaling with devices"
    for name in ("SID", "1F1B", "ZB-H1", "FSDP"):
        assert drawing.svg.count(f">{name}</text>") == 2
        assert f"{name}: half of the ideal throughput" in drawing.svg


def test_what_does_not_fit_has_a_hollow_mark() -> None:
    points = swept().points
    none = replace(points[-1], methods=tuple(replace(method, capacity=0.0) for method in points[-1].methods))
    full, hollow = (scaling(replace(swept(), points=(*points[:-1], last)), "mlp").svg for last in (points[-1], none))
    assert "fill-opacity: 0" not in full
    assert hollow.count("fill-opacity: 0") == 2 * 4  # panels, methods
