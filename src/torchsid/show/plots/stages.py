"""Lines by stage: what every stage of a cascade adds."""

from collections.abc import Mapping, Sequence

from torchsid.show.plots.curves import Line, curves
from torchsid.show.plots.points import Point
from torchsid.show.svg import Drawing

_FEW = 12  # stages that all have a tick


def by_stage(
    title: str,
    lines: Mapping[str, Sequence[float | Point]],
    *,
    y: str = "",
    prior: bool = True,
    logarithmic: bool = False,
    bottom: float | None = None,
    size: tuple[float, float] = (460, 270),
) -> Drawing:
    """Draw values after each stage.

    Args:
        title: of the figure.
        lines: by name one value a belief, the prior's first, `[L+1]`. A network of one stage among deeper ones is a level.
        y: name and unit of the values, if the title does not say it.
        prior: whether the prior's value is shown; it often only stretches the axis.
        logarithmic: whether the vertical axis is.
        bottom: where the vertical axis begins.
        size: width and height in CSS pixels.
    """
    depth = max((len(values) - 1 for values in lines.values()), default=1)
    step = 1 if depth <= _FEW else depth // 8
    stages = [0] * prior + [stage for stage in range(1, depth + 1) if stage in {1, depth} or stage % step == 0]
    return curves(
        title,
        [_line(name, values, depth, first=0 if prior else 1) for name, values in lines.items()],
        x="stage",
        y=y,
        logarithmic="y" if logarithmic else "",
        bottom=bottom,
        ticks={stage: str(stage) if stage else "prior" for stage in stages},
        size=size,
    )


def _line(name: str, values: Sequence[float | Point], depth: int, first: int) -> Line:
    level = len(values) == 2 and depth > 1
    return Line(name, () if level else range(first, len(values)), values[1 if level else first :])
