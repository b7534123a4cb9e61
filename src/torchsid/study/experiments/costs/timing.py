"""The time of a step: all contenders of a network in one process, turn by turn, SID in its parts."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from statistics import median

from torchsid.bench.contenders import Contender
from torchsid.bench.turns import STEPS_A_TURN, quartiles, take_turns
from torchsid.bench.workload import Workload
from torchsid.core.cascade import Cascade
from torchsid.learners.sid import SID
from torchsid.study.experiments.costs import shared, staged
from torchsid.study.experiments.costs.measured import Measured
from torchsid.study.experiments.costs.parts import PARTS, Parts, bound, in_parts, serial_share
from torchsid.study.experiments.costs.plan import Timing
from torchsid.study.experiments.costs.result import Spread, TimingRow

Network = shared.SharedWorkload | Workload
Rounds = Mapping[str, Sequence[Parts]]
"""The seconds of a step of each contender in each round; what is not taken apart is one part."""

LEAST_ROUNDS = 2  # for quartiles
WORKERS = (2, 4)  # and as many as there are stages
_WHOLE = "step"
_BASES = (shared.REFERENCE, shared.CHAIN, shared.PLAIN, staged.BP)


def networks(experiment: Timing) -> list[Network]:
    """Return what is measured, one after another."""
    return [
        *(shared.workload(each, depth) for each in experiment.shared for depth in each.depths),
        *(staged.workload(each, each.stages) for each in experiment.staged),
    ]


def measure(experiment: Timing, measured: Measured, seconds: float | None, say: Callable[[str], None]) -> Iterator[TimingRow]:
    """Yield the rows of every network; what is measured already is not measured again.

    Args:
        experiment: of kind `timing`.
        measured: what is there, and keeps what comes.
        seconds: the budget, shared out evenly over the networks that are left; None for none.
        say: called with one line a network.
    """
    asked = {
        network: {"network": asdict(network), "rounds": experiment.rounds, "seconds": seconds} for network in networks(experiment)
    }
    missing = [network for network, question in asked.items() if measured.find(question) is None]
    end = time.perf_counter() + (seconds or 0.0)
    for network, question in asked.items():
        if network in missing:
            start = time.perf_counter()
            left = None if seconds is None else (end - start) / (len(missing) - missing.index(network))
            measured.add(question, {"rounds": take_rounds(network, experiment.rounds, left)})
            took = f"{time.perf_counter() - start:.1f} s"
        else:
            took = "already there"
        found = measured.find(question)
        assert found is not None
        say(f"{network.title:28s} {len(next(iter(found['rounds'].values())))} rounds  {took}")
        yield from rows(network, found["rounds"])


def take_rounds(network: Network, rounds: int, seconds: float | None) -> Rounds:
    """Return the parts of every step.

    Args:
        network: whose contenders are interleaved.
        rounds: counted ones, after one of warm-up.
        seconds: allowed; fewer rounds are taken if need be, two at least. None for no limit.
    """
    made = {name: new() for name, new in _builders(network).items()}
    turn = partial(_take_turn, made)
    if seconds is not None:
        start = time.perf_counter()
        take_turns(list(made), turn, 0)
        one = time.perf_counter() - start
        rounds = max(LEAST_ROUNDS, min(rounds, int(seconds / one) - 2))  # beside this round and that of warm-up
    return take_turns(list(made), turn, rounds)


def _builders(network: Network) -> dict[str, Callable[[], Contender]]:
    """Return the contenders, SID in parts where a step has them."""
    if isinstance(network, shared.SharedWorkload):
        builders, apart = shared.contenders(network), [shared.TWO_PHASE]
    else:
        builders = staged.contenders(network)
        apart = [name for name in builders if name.startswith(staged.SID)]
    return builders | {name: partial(_taken_apart, builders[name], network) for name in apart}


def _taken_apart(new: Callable[[], Contender], network: Network) -> Contender:
    contender = new()
    assert isinstance(contender.module, Cascade)
    learner = SID(contender.module, optimizer=contender.optimizer)
    return replace(contender, step=partial(in_parts, learner, *network.batch()))


def _take_turn(made: Mapping[str, Contender], name: str) -> Parts:
    """Return the step of median length, so that its parts add up to it."""
    steps = []
    for _ in range(1 + STEPS_A_TURN):
        start = time.perf_counter()
        parts = made[name].step()
        whole = time.perf_counter() - start
        steps.append(parts if isinstance(parts, dict) else {_WHOLE: whole})
    return sorted(steps[1:], key=_seconds)[STEPS_A_TURN // 2]


def rows(network: Network, rounds: Rounds) -> Iterator[TimingRow]:
    """Yield what the rounds say of each contender."""
    if isinstance(network, shared.SharedWorkload):
        kind, title, model = "shared", network.title, f"{network.extractor} extractor"
        stages = {**dict.fromkeys(rounds, network.depth), shared.PLAIN: 1}
    else:
        kind, title, model = "staged", staged.title(network), staged.title(network)
        stages = staged.stages_of(network)
    for name, steps in rounds.items():
        serial = [] if _WHOLE in steps[0] else [serial_share(step) for step in steps]
        yield TimingRow(
            network=title,
            kind=kind,
            model=model,
            stages=stages[name],
            batch_size=network.batch_size,
            contender=name,
            rounds=len(steps),
            seconds=spread([_seconds(step) for step in steps]),
            over={base: _over(steps, rounds[base]) for base in _BASES if base in rounds},
            parts={part: spread([step[part] / _seconds(step) for step in steps]) for part in PARTS if part in steps[0]},
            serial=spread(serial) if serial else None,
            bounds={n: spread([bound(s, n) for s in serial]) for n in _workers(stages[name])} if serial else None,
        )


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles of two values or more."""
    return (median(values), *quartiles(values))


def _workers(stages: int) -> list[int]:
    return [*(n for n in WORKERS if n < stages), stages]


def _over(steps: Sequence[Parts], base: Sequence[Parts]) -> Spread:
    return spread([_seconds(a) / _seconds(b) for a, b in zip(steps, base, strict=True)])


def _seconds(step: Parts) -> float:
    return sum(step.values())
