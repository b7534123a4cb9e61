"""Throughput against delay."""

from collections.abc import Sequence
from typing import Any

from torchsid.show.plots.curves import Line, curves
from torchsid.show.svg import Drawing


def throughput(rows: Sequence[dict[str, Any]]) -> Drawing:
    """Draw each contender's relative throughput over the delay, from the rows of `train.summary` that have no limit of rate."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["rate_bits"] is None:
            lines.setdefault(row["contender"], []).append((row["delay_ms"], 100 * row["relative"]))
    drawn = [Line(name, *zip(*sorted(points), strict=True)) for name, points in lines.items()]
    title = "Throughput of training over a slow line, % of that without delay"
    return curves(title, drawn, x="delay one way, ms", bottom=0, size=(560, 300))
