"""What `timing` found, in sentences: what keeps workers from helping, and which step is faster on one worker."""

from collections.abc import Callable, Iterator, Sequence

from torchsid.show.wording import counted, listing
from torchsid.study.experiments.costs.parts import PARTS
from torchsid.study.experiments.costs.result import Spread, TimingRow
from torchsid.study.experiments.costs.shared import CHAIN, PLAIN, REFERENCE
from torchsid.study.experiments.costs.staged import BP

_OTHERS = {
    REFERENCE: "the reference procedure,",
    CHAIN: "backpropagation through the same chain,",
    PLAIN: "backpropagation on the plain network, extractor and one linear layer,",
    BP: "backpropagation on the network that is not cut,",
}
FORMULA = "1 / (s + (1 − s) / n)"
NOTES = (
    f"s is the share of a step that runs one after another, and {FORMULA} the most that n workers can gain on one batch, by "
    "Amdahl's law: as if messages cost nothing and all else could be shared out evenly.",
    "The bound is not that of a pipeline, which has several batches under way and is as fast as its slowest worker: "
    "torchsid bench pipeline measures one. Nothing here ran on more than one worker.",
    "Steps are compared on one worker; faster and slower mean that both quartiles of the ratio lie on one side of 1.",
)


def verdict(rows: Sequence[TimingRow]) -> list[str]:
    """Return the bound over all networks, the fastest SID step against every other, and one sentence a network."""
    sentences = [_bound(rows)]
    sentences += [_fastest(rows, base) for base in _OTHERS if any(base in row.over for row in rows)]
    models = dict.fromkeys((row.kind, row.model) for row in rows)
    return sentences + [_parts([row for row in rows if (row.kind, row.model) == each and row.serial]) for each in models]


def _bound(rows: Sequence[TimingRow]) -> str:
    shares = [row.serial[0] for row in rows if row.serial]
    gains = [row.bounds[row.stages][0] for row in rows if row.bounds]
    return (
        f"What runs one after another takes {_range(shares, _percent)} of a step of SID, "
        f"so that as many workers as there are stages gain at most {_range(gains, _times)} on one batch."
    )


def _fastest(rows: Sequence[TimingRow], base: str) -> str:
    """Say on which networks the fastest way of SID is faster or slower than another contender."""
    best = list(_best(rows, base))
    ratios = [ratio for _, ratio in best]
    faster = [(row, ratio) for row, ratio in best if ratio[2] < 1]
    slower = [(row, ratio) for row, ratio in best if ratio[1] > 1]
    even = [each for each in best if each not in faster and each not in slower]
    head, span = f"Against {_OTHERS[base]} the fastest SID step", _range([middle for middle, *_ in ratios], _ratio)
    if len(faster) == len(best):
        return f"{head} is faster on every network: it takes {span} of the time."
    if not faster:
        return f"{head} is faster on no network: it takes {span} of the time."
    kinds = (("faster", faster), ("slower", slower), ("neither faster nor slower", even))
    parts = [f"{word} on {listing([_place(row, ratio) for row, ratio in these])}" for word, these in kinds if these]
    return f"{head} is {'; '.join(parts)}."


def _best(rows: Sequence[TimingRow], base: str) -> Iterator[tuple[TimingRow, Spread]]:
    """Yield for every network with this base the fastest row of SID and its ratio."""
    for network in dict.fromkeys(row.network for row in rows if base in row.over):
        own = [row for row in rows if row.network == network and row.contender.startswith("SID")]
        row = min(own, key=lambda each: each.over[base][0])
        yield row, row.over[base]


def _place(row: TimingRow, ratio: Spread) -> str:
    return f"{row.network} ({row.contender.removeprefix('SID, ')}: {_ratio(ratio[0])})"


def _parts(rows: Sequence[TimingRow]) -> str:
    """Say what the parts of a step are, from the fewest stages to the most."""
    first, last = rows[0], rows[-1]
    ends = [first] if first is last else [first, last]
    parts = [part for part in PARTS if part in first.parts]
    shares = [f"{part} {_to([_percent(row.parts[part][0]) for row in ends])}" for part in parts]
    over = " to ".join(str(row.stages) for row in ends)
    gains = [_times(row.bounds[row.stages][0]) for row in ends if row.bounds]
    two = [_times(row.bounds[2][0]) for row in ends if row.bounds and 2 in row.bounds]
    where = f"{first.model}, {over} stages" if len(ends) > 1 else f"{first.model}, {counted(first.stages, 'stage')}"
    workers = f"; two workers gain at most {_to(two)}, {over} workers {_to(gains)}" if two else ""
    return f"{where}: of a step, {', '.join(shares)}{workers}."


def _to(texts: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys(texts))


def _range(values: Sequence[float], words: Callable[[float], str]) -> str:
    return _to([words(min(values)), words(max(values))])


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _times(gain: float) -> str:
    return f"{gain:.2f}×"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}"
