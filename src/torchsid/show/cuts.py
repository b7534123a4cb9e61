"""Where the network of a method was cut into stages, and what each stage and its belief head cost."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torchsid.show.compare import Comparison
from torchsid.show.wording import Cell, Table, counted, percent

_TRUNK = ("Stage", "Ends after", "Features", "Parameters", "Multiply-adds", "Kept for backward")
_HEAD = ("Belief head", "Its parameters", "Its multiply-adds")


class Cuts(NamedTuple):
    """The stages of one method's network."""

    method: str
    sentence: str
    table: Table


def cuts(result: Comparison) -> tuple[Cuts, ...]:
    """Return the table of every method whose network is a trunk that was cut."""
    manifests = [(method.name, method.runs[0].manifest) for method in result.methods]
    return tuple(_cuts(name, manifest["plan"], manifest["head_share"]) for name, manifest in manifests if manifest.get("plan"))


def head_parameters(plan: list[Mapping[str, Any]]) -> int:
    """Return the number of parameters of all belief heads of a plan."""
    return sum(int(stage["head_parameters"]) for stage in plan)


def _cuts(name: str, plan: list[Mapping[str, Any]], head_share: float) -> Cuts:
    sentence = (
        f"{name}: the trunk is cut into {counted(len(plan), 'stage')}. The belief heads add {percent(head_share, 1)} to its "
        f"multiply-adds and {head_parameters(plan):,} parameters; the trunk answers without them."
    )
    return Cuts(name, sentence, Table((*_TRUNK, *_HEAD), tuple(map(_row, range(1, len(plan) + 1), plan))))


def _row(number: int, stage: Mapping[str, Any]) -> tuple[Cell, ...]:
    own = not stage["head_parameters"]
    texts = (
        str(number),
        stage["cut"] or "the model",
        "×".join(map(str, stage["features"])),
        f"{stage['parameters']:,}",
        _millions(stage["operations"]),
        f"{stage['kept_bytes'] / 2**10:,.0f} KiB",
        stage["head"],
        "–" if own else f"{stage['head_parameters']:,}",
        "–" if own else _millions(stage["head_operations"]),
    )
    return tuple(map(Cell, texts))


def _millions(operations: int) -> str:
    return f"{operations / 1e6:,.2f} M" if operations >= 10_000 else f"{operations:,}"
