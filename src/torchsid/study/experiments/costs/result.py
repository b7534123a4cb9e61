"""What an experiment on costs found: tidy rows of one kind, what was left out, and where it was measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchsid.study.experiments.costs.plan import Memory, Timing

Spread = tuple[float, float, float]
"""Median, first and third quartile over the rounds."""


@dataclass(frozen=True, kw_only=True)
class TimingRow:
    """One way to train one network; times are seconds, ratios are taken within a round."""

    network: str
    kind: str
    """`shared` or `staged`."""
    model: str
    """The extractor, or what is cut."""
    stages: int
    """L, 1 where there are none."""
    batch_size: int
    contender: str
    rounds: int
    seconds: Spread
    """Of the whole step."""
    over: Mapping[str, Spread]
    """Of the step, over those of other contenders on the same network, by their name."""
    parts: Mapping[str, Spread]
    """Shares of the step by part, where SID is measured in parts."""
    serial: Spread | None = None
    """The share s that runs one after another."""
    bounds: Mapping[int, Spread] | None = None
    """The most that n workers can gain on one batch, by n."""


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """Bytes that one way to train one network keeps for backward in a step, at most."""

    network: str
    kind: str
    axis: str
    """`depth`, `width`, `stages` or `window`: what `value` counts."""
    value: int
    batch_size: int
    contender: str
    kept_bytes: int
    over_backprop: float
    """Over backpropagation through the same stages."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished experiment of either kind; the rows of the other are empty."""

    experiment: Timing | Memory
    timing: tuple[TimingRow, ...] = ()
    memory: tuple[MemoryRow, ...] = ()
    dropped: tuple[str, ...] = ()
    """What the budget did not allow, in words."""
    command: str = ""
    provenance: Mapping[str, Any]
    """`versions`, `hardware`, `git`."""
    finished: str
    """When the last number was measured: ISO 8601, UTC."""
