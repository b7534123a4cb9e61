"""The rows of the results; None where a contender could not be measured, and then `note` says why."""

from dataclasses import dataclass
from typing import Any

from torchsid.bench.contenders import Entry
from torchsid.bench.workload import Workload
from torchsid.core.cut_plan import Plan


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender on one workload."""

    model: str
    blocks: int | None
    variant: str
    contender: str
    stages: int
    """That the model is cut into; 1 when it is not cut."""
    kept_bytes: int | None = None
    """The most that autograd keeps for backward at any moment of a step."""
    kept_over_backprop: float | None = None
    head_parameters: int | None = None
    head_share: float | None = None
    """Multiply-adds of the heads over those of the trunk."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class MemoryRow(Row):
    """A row of `torchsid bench memory`."""

    peak_mib: float | None = None
    """Peak of a step above the level before the first one: of PyTorch's allocations on CUDA, else of the process."""
    peak_over_backprop: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepRow(Row):
    """A row of `torchsid bench step`. Times in milliseconds: median and quartiles over the rounds."""

    step_ms: float | None = None
    """Forward, backward and update."""
    step_quartiles_ms: tuple[float, float] | None = None
    step_over_backprop: float | None = None
    """Median over the rounds of the ratio within a round."""
    step_over_checkpointing: float | None = None
    images_per_second: float | None = None


def identity(workload: Workload, entry: Entry) -> dict[str, Any]:
    """Return the fields that say what a row is about."""
    return {
        "model": workload.model,
        "blocks": workload.blocks,
        "variant": workload.variant,
        "contender": entry.name,
        "stages": entry.stages,
    }


def head_cost(plan: Plan | None) -> dict[str, Any]:
    """Return what the heads of a cut model add; of one that is not cut, nothing."""
    return {
        "head_parameters": sum(stage.head_parameters for stage in plan.stages) if plan else 0,
        "head_share": plan.head_share if plan else 0.0,
    }


def over(value: float | None, base: float | None) -> float | None:
    """Return `value / base`, None where one of them is missing."""
    return None if value is None or not base else value / base
