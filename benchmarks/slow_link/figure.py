"""Throughput against delay."""

from collections.abc import Sequence
from typing import Any

from torchsid.show.svg import Drawing, canvas, finish, series


def throughput(rows: Sequence[dict[str, Any]]) -> Drawing:
    """Draw each contender's relative throughput over the delay, from the rows of `train.summary` that have no limit of rate."""
    rows = [row for row in rows if row["rate_bits"] is None]
    names = list(dict.fromkeys(row["contender"] for row in rows))
    described = []
    with canvas(560, 300) as (figure, axes):
        for index, name in enumerate(names):
            points = sorted((row["delay_ms"], 100 * row["relative"]) for row in rows if row["contender"] == name)
            colour, style = series(index)
            axes.plot(*zip(*points, strict=True), style, color=colour, marker="o", ms=4, label=name)
            described.append(f"{name}: " + ", ".join(f"{y:.0f} % at {x:g} ms" for x, y in points))
        axes.set(xlabel="delay one way, ms", ylim=(0, None), xticks=sorted({row["delay_ms"] for row in rows}))
        figure.legend(loc="outside right upper", frameon=False, labelcolor="linecolor")
        return finish(figure, "Throughput of training over a slow line, % of that without delay", "; ".join(described))
