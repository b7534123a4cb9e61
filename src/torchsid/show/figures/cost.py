"""What training cost: time, throughput, memory."""

from collections.abc import Callable, Sequence

from torchsid.show.compare import Row
from torchsid.show.svg import INK, Drawing, canvas, finish, series
from torchsid.show.wording import duration, number
from torchsid.study.statistics import Interval


def cost_bars(rows: Sequence[Row]) -> list[Drawing]:
    """Draw one panel of bars for each quantity that some run has recorded."""
    panels: tuple[tuple[str, Callable[[Row], Interval | None], Callable[[float], str]], ...] = (
        ("Training time", lambda row: row.train_seconds, duration),
        ("Images a second", lambda row: row.samples_per_second, number),
        ("Peak memory of the process", lambda row: row.peak_memory_mib, lambda value: f"{number(value)} MiB"),
    )
    drawings = [_bars(rows, title, measure, words) for title, measure, words in panels]
    return [drawing for drawing in drawings if drawing is not None]


def _bars(
    rows: Sequence[Row], title: str, measure: Callable[[Row], Interval | None], words: Callable[[float], str]
) -> Drawing | None:
    measured = [(index, row, value) for index, row in enumerate(rows) if (value := measure(row)) is not None]
    if not measured:
        return None
    greatest = max(max(value.mean, value.high or 0) for _, _, value in measured) or 1.0
    with canvas(320, 16 + 44 * len(measured)) as (figure, axes):
        for place, (index, row, value) in enumerate(measured):
            axes.barh(place, value.mean, height=0.34, color=series(index)[0], alpha=0.85)
            if value.low is not None and value.high is not None:
                axes.plot([max(0.0, value.low), value.high], [place, place], color=INK, lw=1.2)
            axes.text(0, place - 0.26, row.method.name[:28], va="bottom", fontsize=10.5)
            axes.text(greatest, place - 0.26, words(value.mean), va="bottom", ha="right", fontweight="bold")
        axes.set(xlim=(0, greatest), ylim=(len(measured) - 0.75, -0.75))
        axes.axis("off")
        described = "; ".join(f"{row.method.name} {words(value.mean)}" for _, row, value in measured)
        return finish(figure, title, described)
