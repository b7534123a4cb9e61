"""Choose where to cut: which points are candidates, and which of them balance the stages."""

from collections import Counter
from itertools import pairwise
from math import inf
from typing import Literal, get_args

from torchsid.cut.balance import balanced_cuts
from torchsid.cut.profile import Exit, Profile
from torchsid.errors import CutError, did_you_mean, unknown_name

Balance = Literal["memory", "work", "equal"]


def candidates(profile: Profile) -> list[Exit]:
    """Return the exits that a model can be cut at, in order, the model's own last.

    Nothing but the submodule's output may cross. Between two weights (a convolution's, a linear layer's) there is at most one
    candidate, the last: behind the activation, the normalisation and the pooling, where there is least to hand on. None lies
    before the first weight or behind the last one.
    """
    end = profile.exits[-1]
    weights = sorted(use.first for name, use in profile.uses.items() if profile.is_weight[name])
    runs = Counter(exit_.name for exit_ in profile.exits)
    last_of_gap: dict[int, Exit] = {}
    for exit_ in profile.exits[:-1]:
        gap = sum(time <= exit_.time for time in weights)
        if runs[exit_.name] > 1 or not exit_.tensors or not 0 < gap < len(weights) or profile.crossing(exit_):
            continue
        before = last_of_gap.get(gap)
        if before is None or exit_.time > before.time or len(exit_.name) < len(before.name):
            last_of_gap[gap] = exit_
    return [*(last_of_gap[gap] for gap in sorted(last_of_gap)), end]


def choose(profile: Profile, stages: int, balance: Balance) -> list[Exit]:
    """Return the exits that end the `stages` stages, the model's own last.

    * `"memory"`: the largest kept bytes of a stage are as small as can be;
    * `"work"`: the same for operations;
    * `"equal"`: the same for the number of pieces.

    Raises:
        CutError: there are not so many stages in the model, or the balance is unknown; all problems at once.
    """
    problems = []
    points = candidates(profile)
    if balance not in get_args(Balance):
        problems.append(unknown_name("balance", balance, get_args(Balance)))
    if not 1 <= stages <= len(points):
        names = ", ".join(point.name for point in points[:-1])
        problems.append(f"stages={stages}: this model can be cut into 1 to {len(points)}; it can be cut after {names or 'nothing'}")
    if problems:
        raise CutError("; ".join(problems))

    indices = [-1, *(point.index for point in points)]

    def cost(a: int, b: int) -> float:
        start, end = indices[a], indices[b]
        if not profile.parameters(start, end):
            return inf
        match balance:
            case "memory":
                return profile.kept_bytes(start, end)
            case "work":
                return profile.operations(start, end)
            case "equal":
                return b - a

    ends = balanced_cuts(len(points), stages, cost)
    if ends is None:
        raise CutError(f"stages={stages}: some stage would have no parameter to train; ask for fewer stages")
    return [points[end - 1] for end in ends]


def named(profile: Profile, cuts: tuple[str, ...], *, carries_skips: bool) -> list[Exit]:
    """Return the exits of the named submodules and the model's own.

    Args:
        profile: of the model.
        cuts: names of submodules in the order in which they return.
        carries_skips: whether other tensors than a submodule's output may cross.

    Raises:
        CutError: a name is unknown, or one cannot cut there; all problems at once.
    """
    exits: dict[str, list[Exit]] = {}
    for exit_ in profile.exits[:-1]:
        exits.setdefault(exit_.name, []).append(exit_)
    problems = []
    chosen: list[Exit] = []
    for name in cuts:
        found = exits.get(name, [])
        if len(found) != 1:
            times = f"runs {len(found)} times" if found else f"is no submodule that the model runs{did_you_mean(name, exits)}"
            problems.append(f"cut {name!r} {times}")
            continue
        (exit_,) = found
        if not exit_.tensors:
            problems.append(f"cut {name!r} returns no tensor that has a gradient")
        tied = [use for use in profile.crossing(exit_) if use in profile.uses]
        skips = [node for node in profile.crossing(exit_) if node not in profile.uses]
        if tied:
            problems.append(f"cut {name!r}: the parameter {tied[0]} is used on both sides, and one stage only can train it")
        if skips and not carries_skips:
            problems.append(f"cut {name!r}: {', '.join(skips)} crosses beside its output (a skip connection); use by='graph'")
        chosen.append(exit_)
    ordered = all(a.time < b.time for a, b in pairwise(chosen))
    if not problems and not ordered:
        problems.append(f"the cuts {', '.join(cuts)} are not in the order in which the model runs them")
    if not problems:
        start = -1
        for exit_ in [*chosen, profile.exits[-1]]:
            if not profile.parameters(start, exit_.index):
                where = f"the stage that ends after {exit_.name!r}" if exit_.name else "the last stage"
                problems.append(f"{where} has no parameter to train: leave a cut out")
            start = exit_.index
    if problems:
        points = ", ".join(point.name for point in candidates(profile)[:-1])
        raise CutError(f"{'; '.join(problems)}; this model can be cut after {points or 'nothing'}")
    return [*chosen, profile.exits[-1]]
