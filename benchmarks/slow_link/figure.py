"""Throughput against delay."""

from collections.abc import Sequence
from typing import Any

from torchsid.show.plots.curves import Line, curves
from torchsid.show.svg import Drawing


def throughput(rows: Sequence[dict[str, Any]]) -> Drawing:
    """Draw each contender's relative throughput over the delay, from the rows of `train.summary` that have no limit of rate."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["rate_bits"] is None:
            points.setdefault(row["contender"], []).append((row["delay_ms"], 100 * row["relative"]))
    lines = [Line(name, *map(list, zip(*sorted(own), strict=True))) for name, own in points.items()]
    ticks = {delay: f"{delay:g}" for delay in sorted({delay for own in points.values() for delay, _ in own})}
    title = "Throughput of training over a slow line, % of that without delay"
    return curves(title, lines, x="delay one way, ms", bottom=0, ticks=ticks, size=(560, 300))
