"""What `memory` found, in sentences: what grows along an axis and what does not, and what keeps less than what."""

from collections.abc import Mapping, Sequence

from torchsid.show.wording import listing, mebibytes
from torchsid.study.experiments.costs.memory import WINDOW
from torchsid.study.experiments.costs.result import MemoryRow
from torchsid.study.experiments.costs.shared import CHAIN, REFERENCE, STREAMING
from torchsid.study.experiments.costs.staged import BP, CHECKPOINTED, SID

NOTES = (
    "Kept bytes are the most that autograd holds for backward at any moment of a step, each storage once; weights, gradients and "
    "the optimiser's state are not among them. They are counted, the same in every run, and so have no intervals.",
    "The closed form of the batched schedule keeps the activations of 8 stages at a time outside autograd, which are not counted: "
    "4 · 8 · B · (F + C + 2 · hidden) bytes at any depth, for B images, F = 128 features and C classes.",
)

Lines = Mapping[str, Mapping[int, int]]
"""Contender to value of the axis to kept bytes."""


def verdict(rows: Sequence[MemoryRow]) -> list[str]:
    """Return what depth does to the streaming schedule, then one sentence for each network and axis."""
    along = curves(rows, "depth")
    sentences = {"depth": _depth, "width": _width, "stages": _stages, "window": _window}
    return [
        *([_headline(along)] if along else []),
        *(f"{network}: {say(lines)}." for axis, say in sentences.items() for network, lines in curves(rows, axis).items()),
    ]


def _headline(along: Mapping[str, Lines]) -> str:
    grown = [network for network, lines in along.items() if len(set(lines[STREAMING].values())) > 1]
    if grown:
        return f"With the streaming schedule what a step keeps for backward changes with the depth on {listing(grown)}."
    times = []
    for lines in along.values():
        last = max(lines[REFERENCE])
        times.append(f"{lines[REFERENCE][last] / lines[STREAMING][last]:.1f} times as much at {last} stages")
    return (
        "With the streaming schedule what a step keeps for backward does not depend on the number of stages; the reference "
        f"procedure keeps {listing([f'{each} ({network})' for each, network in zip(times, along, strict=True)])}."
    )


def curves(rows: Sequence[MemoryRow], axis: str) -> dict[str, Lines]:
    """Return the lines of every network along an axis."""
    found: dict[str, dict[str, dict[int, int]]] = {}
    for row in rows:
        if row.axis == axis:
            found.setdefault(row.network, {}).setdefault(row.contender, {})[row.value] = row.kept_bytes
    return {network: dict(lines) for network, lines in found.items()}


def _depth(lines: Lines) -> str:
    first, last = _ends(lines)
    flat = [name for name, kept in lines.items() if len(set(kept.values())) == 1]
    amounts = listing([f"{name} ({mebibytes(lines[name][last])})" for name in flat]) if flat else "nothing"
    grown = [f"{name} ({_fromto(kept, first, last)})" for name, kept in lines.items() if name not in flat]
    growth = f"growing with {listing(grown)}" if grown else "growing with nothing"
    return (
        f"from {first} to {last} stages the same at every depth with {amounts}; {growth}; "
        f"at {last} stages streaming keeps {_share(lines, STREAMING, CHAIN, last)} of what backpropagation through the chain keeps"
    )


def _fromto(kept: Mapping[int, int], first: int, last: int) -> str:
    return f"{mebibytes(kept[first])} to {mebibytes(kept[last])}"


def _width(lines: Lines) -> str:
    first, last = _ends(lines)
    grown = [f"{name} ({_fromto(kept, first, last)})" for name, kept in lines.items() if kept[last] != kept[first]]
    flat = [name for name, kept in lines.items() if kept[last] == kept[first]]
    parts = [f"growing with {listing(grown)}"] if grown else []
    parts += [f"the same with {listing(flat)}"] if flat else []
    shares = " to ".join(_share(lines, STREAMING, CHAIN, value) for value in (first, last))
    parts.append(f"streaming keeps {shares} of what backpropagation through the chain keeps")
    return f"from a hidden width of {first} to {last} {'; '.join(parts)}"


def _stages(lines: Lines) -> str:
    first, last = _ends(lines)
    kept = lines[SID]
    least = min(kept, key=kept.__getitem__)
    ends = f"{_share(lines, SID, BP, first)} with {first} stages"
    ends += f" and {_share(lines, SID, BP, last)} with {last}" if last != first else ""
    return (
        f"of what backpropagation keeps, SID keeps {ends}, the least with {least}; "
        f"{_where(lines, SID, CHECKPOINTED, 'checkpointing with as many pieces', 'stages')}"
    )


def _window(lines: Lines) -> str:
    first, last = _ends(lines)
    shares = f"{_share(lines, WINDOW, BP, first)} at w = {first} to {_share(lines, WINDOW, BP, last)} at w = {last}"
    return (
        f"of what backpropagation keeps, SID with a window keeps {shares}; {_where(lines, WINDOW, BP, 'backpropagation', 'w')}; "
        f"{_where(lines, WINDOW, CHECKPOINTED, 'checkpointing', 'w')}"
    )


def _where(lines: Lines, one: str, other: str, words: str, axis: str) -> str:
    """Say where one keeps less than another, and where more."""
    less = [str(value) for value in lines[one] if lines[one][value] < lines[other][value]]
    if not less:
        return f"nowhere less than {words}"
    if len(less) == len(lines[one]):
        return f"everywhere less than {words}"
    return f"less than {words} at {axis} = {listing(less)} only"


def _share(lines: Lines, one: str, other: str, at: int) -> str:
    return f"{lines[one][at] / lines[other][at]:.2f}"


def _ends(lines: Lines) -> tuple[int, int]:
    values = [value for kept in lines.values() for value in kept]
    return min(values), max(values)
