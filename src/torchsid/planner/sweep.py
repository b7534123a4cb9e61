"""How throughput and efficiency go with the devices, the depth, the width or the batch, and what ends the scaling."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torchsid.errors import ConfigError
from torchsid.planner.forecast import METHODS, Forecast, forecast
from torchsid.planner.request import Planned, resolve, usual_micro_batches

MAX_DEVICES = 4096
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_ENOUGH = 0.5  # of the ideal throughput: below, scaling has ended

Points = dict[int, Mapping[str, Forecast]]
"""The forecasts at each number of devices, blocks, units of width or samples, ascending."""


def sweep(planned: Planned, progress: Callable[[str], None] = lambda _: None) -> tuple[Points, list[str]]:
    """Return the forecasts along the axis that the plan's request asks for, and why some had to be left out.

    * `"devices"`: 1, 2, 4 … 4096. The samples a device stay what they are in the plan; every method takes the pipeline length
      (a power of two, up to the pieces of the model) that fits and is fastest, and as many replicas as there are devices for.
    * `"depth"`, `"width"`, `"batch"`: a quarter to four times the plan's, on its mesh; `progress` is told each of them.
    """
    request, model, axis = planned.request, planned.request.model, planned.request.sweep
    if axis == "devices":
        return {2**n: _on_devices(planned, 2**n) for n in range(MAX_DEVICES.bit_length())}, []
    own = model.own(axis) if axis == "depth" or axis == "width" else request.batch_size
    assert own is not None  # `resolve` has refused others
    points: Points = {}
    left_out: list[str] = []
    for value in sorted({max(round(own * factor), 1) for factor in _FACTORS}):
        progress(f"{axis} {value}")
        changed = {
            "depth": replace(request, model=replace(model, depth=value)),
            "width": replace(request, model=replace(model, width=value)),
            "batch": replace(request, batch_size=value, micro_batches=None),
        }
        try:
            found = resolve(changed[str(axis)])
            points[value] = forecast(found.trace, found.speed, found.mesh)
        except ConfigError as error:
            left_out += [f"{axis} {value}: {problem}" for problem in error.problems]
    return points, left_out


def end_of_scaling(points: Points, name: str) -> str:
    """Return how far a method keeps half of the ideal throughput, and what ends it."""
    found = [(value, point[name]) for value, point in points.items()]
    good = [place for place, (_, method) in enumerate(found) if method.fits and method.efficiency >= _ENOUGH]
    if not good:
        return f"nowhere: {found[-1][1].limit}"
    value, behind = found[good[-1]][0], found[good[-1] + 1 :]
    return f"to {value}, then {behind[0][1].limit}" if behind else f"to {value} and beyond"


def _on_devices(planned: Planned, devices: int) -> Mapping[str, Forecast]:
    """Return each method with the pipeline that is fastest among those that fit; if none does, that lacks least memory."""
    mesh = planned.mesh
    each = max(mesh.batch // mesh.devices, 1)  # samples a device
    found = []
    for ranks in (2**n for n in range(min(devices, len(planned.trace.pieces)).bit_length())):
        here = replace(mesh, ranks=ranks, stages=ranks, data=devices // ranks, batch=each * devices)
        here = replace(here, micro_batches=usual_micro_batches(each * ranks, ranks))
        found.append(forecast(planned.trace, planned.speed, here))

    def merit(method: Forecast) -> tuple[bool, float]:
        return method.fits, method.images_per_second if method.fits else -method.memory

    return {name: max((forecasts[name] for forecasts in found), key=merit) for name in METHODS}
