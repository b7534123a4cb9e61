"""The tables of `torchsid bench`: columns, and a row as cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
MISSING = "–"


@dataclass(frozen=True)
class Table:
    """Column heads, and how a row of the result becomes cells."""

    columns: tuple[str, ...]
    cells: Callable[[Row], list[str]]


def _schedule(row: Row) -> list[str]:
    return [
        row["procedure"],
        str(row["depth"]),
        _time(row["gradients_ms"]),
        _spread(row["gradients_quartiles_ms"]),
        _ratio(row["gradients_over_reference"]),
        _ratio(row["gradients_over_backprop"]),
        _time(row["step_ms"]),
        _ratio(row["step_over_reference"]),
        _ratio(row["step_over_backprop"]),
        _mebibytes(row["kept_bytes"]),
    ]


def _memory(row: Row) -> list[str]:
    return [
        _model(row),
        row["contender"],
        _mebibytes(row["kept_bytes"]),
        _ratio(row["kept_over_backprop"]),
        MISSING if row["peak_mib"] is None else f"{row['peak_mib']:.1f} MiB",
        _ratio(row["peak_over_backprop"]),
        *_heads(row),
    ]


def _step(row: Row) -> list[str]:
    return [
        _model(row),
        row["contender"],
        _time(row["step_ms"]),
        _spread(row["step_quartiles_ms"]),
        _ratio(row["step_over_backprop"]),
        _ratio(row["step_over_checkpointing"]),
        MISSING if row["images_per_second"] is None else f"{row['images_per_second']:,.0f}",
        _mebibytes(row["kept_bytes"]),
        _ratio(row["kept_over_backprop"]),
        *_heads(row),
    ]


def _pipeline(row: Row) -> list[str]:
    return [
        str(row["model"]) + (f", {row['blocks']} blocks" if row["blocks"] else ""),
        row["contender"],
        f"{row['images_per_second']:,.0f}",
        _time(row["step_ms"]),
        _spread(row["step_quartiles_ms"]),
        _ratio(row["speed_up"]),
        _ratio(row["speed_up_with_fill"]),
        _ratio(row["over_backprop"]),
        _percent([row["efficiency"]]),
        _percent(row["idle"]),
        f"{row['sent_bytes'] / 2**20:.2f} MiB",
        _each(row["peak_mib"], lambda peak: f"{peak:.1f}", " MiB"),
        _each(row["kept_bytes"], lambda kept: f"{kept / 2**20:.2f}", " MiB"),
    ]


SCHEDULES = Table(
    (
        "procedure",
        "stages",
        "gradients",
        "quartiles",
        "to reference",
        "to backprop",
        "step",
        "to reference",
        "to backprop",
        "kept",
    ),
    _schedule,
)
_HEADS = ("head parameters", "head work")
MEMORY = Table(("model", "contender", "kept", "to backprop", "peak", "to backprop", *_HEADS), _memory)
STEPS = Table(
    (
        "model",
        "contender",
        "step",
        "quartiles",
        "to backprop",
        "to checkpointing",
        "images/s",
        "kept",
        "to backprop",
        *_HEADS,
    ),
    _step,
)
PIPELINES = Table(
    (
        "model",
        "contender",
        "images/s",
        "step",
        "quartiles",
        "speed-up",
        "with fill",
        "to backprop",
        "efficiency",
        "idle",
        "sent a step",
        "peak",
        "kept",
    ),
    _pipeline,
)


def title(row: Row) -> str:
    """Return the contender and what it was measured on."""
    return f"{_model(row)}, {row['contender']}"


def _model(row: Row) -> str:
    blocks = f", {row['blocks']} blocks" if row["blocks"] else ""
    return str(row["model"]) + blocks + (f", {row['variant']}" if row["variant"] != "float32" else "")


def _heads(row: Row) -> list[str]:
    if row["head_share"] is None:
        return [MISSING, MISSING]
    return [f"{row['head_parameters']:,}", f"{100 * row['head_share']:.1f} %"]


def _time(milliseconds: float | None) -> str:
    return MISSING if milliseconds is None else f"{milliseconds:.2f} ms"


def _spread(quartiles: tuple[float, float] | None) -> str:
    return MISSING if quartiles is None else f"{quartiles[0]:.2f}–{quartiles[1]:.2f}"


def _ratio(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _mebibytes(value: int | None) -> str:
    return MISSING if value is None else f"{value / 2**20:.2f} MiB"


def _percent(shares: Sequence[float | None] | None) -> str:
    return _each(shares, lambda share: f"{100 * share:.0f}", " %")


def _each(values: Sequence[float | None] | None, text: Callable[[float], str], unit: str) -> str:
    """Return one value a worker, or one in all."""
    if values is None or all(value is None for value in values):
        return MISSING
    return " / ".join(MISSING if value is None else text(value) for value in values) + unit
