"""Choose where to cut: which points are candidates, which of them balance the stages, and what follows them."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from math import inf
from typing import Literal, get_args

from torch import Tensor, nn

from torchsid.core.axes import Axes
from torchsid.cut.profile import Exit, Profile
from torchsid.errors import CutError, did_you_mean, unknown_name

Balance = Literal["memory", "work", "equal"]
Cost = Callable[[int, int], float]  # `cost(a, b)`: of one stage made of the pieces a … b−1; infinite when they cannot be a stage


def candidates(profile: Profile, *, carries_skips: bool = False) -> list[Exit]:
    """Return the exits that a model can be cut at, in order, the model's own last.

    Nothing but the submodule's output may cross, unless skips are carried along; parameters never. One of its axes must be the
    samples. Between two weights (a convolution's, a linear layer's) there is at most one candidate, the last: behind the
    activation, the normalisation and the pooling, where there is least to hand on. None lies before the first weight or behind the
    last one.
    """
    end = profile.exits[-1]
    weights = sorted(
        use.first
        for use in profile.uses.values()
        if use.parameter.dim() > 1 and len(use.parameter) > 1  # of a convolution or a linear layer: no bias, scale or embedding
    )
    runs = Counter(exit_.name for exit_ in profile.exits)
    last_of_gap: dict[int, Exit] = {}
    for exit_ in profile.exits[:-1]:
        gap = sum(time <= exit_.time for time in weights)
        if runs[exit_.name] > 1 or exit_.returns is None or not 0 < gap < len(weights) or profile.tied(exit_):
            continue
        if profile.batch_axis(exit_) is None or (not carries_skips and profile.crossing(exit_)):
            continue
        before = last_of_gap.get(gap)
        if before is None or exit_.time > before.time or len(exit_.name) < len(before.name):
            last_of_gap[gap] = exit_
    return [*(last_of_gap[gap] for gap in sorted(last_of_gap)), end]


def choose(profile: Profile, stages: int, balance: Balance) -> list[Exit]:
    """Return the exits that end the `stages` stages, the model's own last; all that stands in the way is one CutError.

    * `"memory"`: the largest kept bytes of a stage are as small as can be;
    * `"work"`: the same for operations, of stages that have more than the model's last layer, if there are enough others;
    * `"equal"`: the same for the number of pieces.
    """
    problems = []
    points = candidates(profile)
    if balance not in get_args(Balance):
        problems.append(unknown_name("balance", balance, get_args(Balance)))
    if not 1 <= stages <= len(points):
        names = ", ".join(point.name for point in points[:-1])
        limit = f"stages={stages}: this model can be cut into 1 to {len(points)}; it can be cut after {names or 'nothing'}"
        problems.append(limit + _way_out(profile, stages))
    if problems:
        raise CutError("; ".join(problems))
    if balance == "work" and 1 < stages < len(points):
        behind = [profile.uses[name].parameter.dim() for name in profile.parameters(points[-2].index, points[-1].index)]
        if sum(dim > 1 for dim in behind) == 1:
            points.pop(-2)  # a readout of 50,000 words has the work of a stage, and learns no features
    ends = _balanced(profile, points, stages, balance)
    if ends is None:
        raise CutError(f"stages={stages}: some stage would have no parameter to train; ask for fewer stages")
    return ends


def _way_out(profile: Profile, stages: int) -> str:
    """Return what stands in the way of more stages, and how to go round it, if one of the common obstacles does."""
    if stages <= 1:
        return ""
    if stages <= len(points := candidates(profile, carries_skips=True)):
        names = [point.name for point in _balanced(profile, points, stages, "work") or points][:-1]
        return f"; elsewhere skip connections cross, which by='graph' carries along: stages={names}"
    if tied := Counter(name for exit_ in profile.exits[:-1] for name in profile.tied(exit_)).most_common(1):
        return "; elsewhere {}: {}".format(*_tied(profile, tied[0][0]))
    if folded := [exit_ for exit_ in profile.exits[:-1] if exit_.returns is not None and profile.batch_axis(exit_) is None]:
        return f"; elsewhere {no_batch_axis(profile, folded[-1])}"
    frozen = any(exit_.returns is None for exit_ in profile.exits)
    return "; what is frozen (requires_grad=False), or runs under no_grad, is no stage" if frozen else ""


def _tied(profile: Profile, name: str) -> tuple[str, str]:
    """Say that a parameter is used on both sides of a cut, and how to untie it: a module runs twice, or two share a parameter."""
    if not (others := profile.other_names[name]):
        return f"the parameter {name} is used on both sides", "give each use a copy of its own (untie it), or freeze it"
    last = f"model.{others[-1]}"
    copied = f"{last} = nn.Parameter({last}.detach().clone())"
    way_out = f"untie them, {copied}, of a Hugging Face model with model.config.tie_word_embeddings = False"
    return f"the parameter {name}, which is {' and '.join(others)} as well, is used on both sides", way_out


def lopsided(profile: Profile, ends: Sequence[Exit], by_graph: Callable[[list[str]], object]) -> str:
    """Return that one stage has most of the work, more than halfway between an even share and all, and cuts that even it out.

    `by_graph` raises a CutError where the graph cannot be cut after submodules of these names.
    """
    heaviest = _heaviest(profile, ends)
    if heaviest <= (1 + 1 / len(ends)) / 2:
        return ""
    said = f"one of {len(ends)} stages has {heaviest:.0%} of the work"
    for by in ("boundary", "graph"):
        points = candidates(profile, carries_skips=by == "graph")
        better = _balanced(profile, points, len(ends), "work") if len(points) >= len(ends) else None
        if better and (least := _heaviest(profile, better)) < 0.9 * heaviest:
            names = [end.name for end in better[:-1]]
            with suppress(CutError):
                if by == "graph":
                    by_graph(names)
                return f"{said}; {least:.0%} with stages={names}, by={by!r}"
    points = candidates(profile)
    return f"{said}, and no cuts even it out; this model can be cut after {', '.join(point.name for point in points[:-1])}"


def _heaviest(profile: Profile, ends: Sequence[Exit]) -> float:
    """Return the largest share of the work that a stage has."""
    indices = [-1, *(end.index for end in ends)]
    work = [profile.operations(start, end) for start, end in pairwise(indices)]
    return max(work) / max(sum(work), 1)


def _balanced(profile: Profile, points: Sequence[Exit], stages: int, balance: Balance) -> list[Exit] | None:
    """Return the points that end the stages, or None where some stage would have no parameter."""
    indices, costs = [-1, *(point.index for point in points)], {"memory": profile.kept_bytes, "work": profile.operations}

    def cost(a: int, b: int) -> float:
        start, end = indices[a], indices[b]
        if not profile.parameters(start, end):
            return inf
        return costs[balance](start, end) if balance in costs else b - a

    ends = balanced_cuts(len(points), stages, cost)
    return None if ends is None else [points[end - 1] for end in ends]


def balanced_cuts(pieces: int, stages: int, cost: Cost) -> tuple[int, ...] | None:
    """Return where each of the `stages` groups of pieces ends, ascending; None when no partition has a finite cost.

    Two dynamic programmes over (stages used, pieces used), `O(stages · pieces²)` each: the first finds the smallest possible cost
    `M` of the heaviest group; the second, among the partitions that keep to `M`, the one with the smallest sum of squares, so that
    the lighter groups are even too.
    """
    costs = [[cost(a, b) if a < b else inf for b in range(pieces + 1)] for a in range(pieces)]
    heaviest, _ = _solve(costs, stages, lambda total, group: max(total, group))
    if heaviest == inf:
        return None
    squares = [[group**2 if group <= heaviest else inf for group in row] for row in costs]
    _, ends = _solve(squares, stages, lambda total, group: total + group)
    return ends


def _solve(costs: Sequence[Sequence[float]], stages: int, join: Callable[[float, float], float]) -> tuple[float, tuple[int, ...]]:
    """Return the smallest joined cost of `stages` groups that cover all pieces, and where they end."""
    pieces = len(costs)
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ()), *[(inf, ())] * pieces]  # [b]: the first b pieces
    for _ in range(stages):
        best = [
            min(
                ((join(best[a][0], costs[a][b]), (*best[a][1], b)) for a in range(b) if best[a][0] < inf),
                key=lambda found: found[0],
                default=(inf, ()),
            )
            for b in range(pieces + 1)
        ]
    return best[pieces]


def named(profile: Profile, cuts: tuple[str, ...], *, carries_skips: bool) -> list[Exit]:
    """Return the exits of the submodules named, in the order in which they return, and the model's own.

    With `carries_skips` other tensors than a submodule's output may cross. All names where one cannot cut are one CutError.
    """
    exits = {exit_.name: exit_ for exit_ in profile.exits[:-1]}
    runs = Counter(exit_.name for exit_ in profile.exits)
    problems = []
    chosen: list[Exit] = []
    for name in cuts:
        if name not in exits or runs[name] > 1:
            unknown = f"is no submodule that the model runs{did_you_mean(name, exits)}"
            problems.append(f"cut {name!r} {f'runs {runs[name]} times' if name in exits else unknown}")
            continue
        chosen.append(exit_ := exits[name])
        if exit_.returns is None:
            problems.append(f"cut {name!r} returns no tensor that has a gradient")
        elif profile.batch_axis(exit_) is None:
            problems.append(f"cut {name!r}: {no_batch_axis(profile, exit_)}")
        if tied := profile.tied(exit_):
            what, way_out = _tied(profile, tied[0])
            problems.append(f"cut {name!r}: {what}, and one stage only can train it: {way_out}")
        if not carries_skips and (skips := profile.crossing(exit_)):
            problems.append(f"cut {name!r}: {', '.join(skips)} crosses beside its output (a skip connection); use by='graph'")
    if not problems and any(a.time >= b.time for a, b in pairwise(chosen)):
        problems.append(f"the cuts {', '.join(cuts)} are not in the order in which the model runs them")
    ends = [*chosen, profile.exits[-1]]
    for start, end in zip([-1, *(each.index for each in chosen)], ends, strict=True) if not problems else ():
        if not profile.parameters(start, end.index):
            where = f"the stage that ends after {end.name!r}" if end.name else "the last stage"
            problems.append(f"{where} has no parameter to train: leave a cut out")
    if problems:
        points = ", ".join(point.name for point in candidates(profile)[:-1])
        raise CutError(f"{'; '.join(problems)}; this model can be cut after {points or 'nothing'}")
    return ends


def no_batch_axis(profile: Profile, exit_: Exit) -> str:
    """Say why a head cannot tell the samples apart in what a submodule returns."""
    shape, batch = list(exit_.shape), profile.batch
    if profile.rows is None and shape.count(batch) > 1:
        return f"which axis of {shape} has the {batch} samples is open: give an example with another number of samples"
    return f"no axis of {shape} has the {batch} samples of the example, as of packed or folded ones: cut where one has"


class Arranged(nn.Module):
    """A piece of the trunk that reads features, and returns them, as heads do; with the axes of what it reads and returns."""

    def __init__(self, module: nn.Module, before: Axes, after: Axes) -> None:
        super().__init__()
        self.module, self.before, self.after = module, before, after

    def forward(self, features: Tensor) -> object:
        """Return what the piece makes of vectors, tokens or maps."""
        made = self.module(self.before.restored(features))
        return self.after.arranged(made) if isinstance(made, Tensor) else made


def later_layers(
    model: nn.Module, profile: Profile, points: Sequence[Exit], cut: Exit, axes_of: Callable[[Exit], Axes]
) -> list[nn.Module]:
    """Return the pieces of the trunk behind a cut, in order, each as one module of the model's own submodules.

    A piece is what lies between two neighbouring candidates. The list ends before the first piece that is no plain chain of
    submodules, and before the last, which holds the classifier's output. Pieces between other axes than usual, which `axes_of`
    tells of the candidates, read features as heads do.
    """
    pieces: list[nn.Module] = []
    if len(cut.shape) > 4:
        return []  # heads read volumes as tokens, which a piece cannot
    further = (point for point in points[:-1] if point.index > cut.index)
    behind = [cut, *(point for point in further if point.returns != cut.returns)]  # not the cut by an outer name
    for start, end in pairwise(behind):
        if not (chain := _chain(profile, start, end)):
            break
        modules = [model.get_submodule(name) for name in chain]
        piece = modules[0] if len(modules) == 1 else nn.Sequential(*modules)
        before, after = axes_of(start), axes_of(end)
        pieces.append(piece if before == after == Axes() else Arranged(piece, before, after))
    return pieces


def _chain(profile: Profile, start: Exit, end: Exit) -> list[str]:
    """Return the names of the submodules that lead from one exit's tensor to another's; empty when they alone do not."""
    names: list[str] = []
    tensor, after, position = start.returns, start.order, start.index
    while True:
        reading = (call for call in profile.exits if call.reads == tensor and call.returns is not None)
        calls = [call for call in reading if call.order > after and call.entered > position and call.index <= end.index]
        if not calls:
            return names if tensor == end.returns else []
        found = min(calls, key=lambda call: call.order)  # calls begin in this order, an outer submodule before its inner ones
        names.append(found.name)
        tensor, after, position = found.returns, found.order, found.index
