"""Classifiers cut into stages, as something to measure: `torchsid.bench` builds them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from torchsid.bench.contenders import BACKPROP, CHECKPOINTING, Contender, Entry, build, entries
from torchsid.bench.workload import Workload
from torchsid.errors import ConfigError, CutError, HeadError
from torchsid.study.experiments.costs.plan import Staged

SID, BP, CHECKPOINTED = "SID", "BP", "BP, checkpointing"
_NAMES = {BACKPROP: BP, CHECKPOINTING: CHECKPOINTED, "accumulation": "BP, accumulation"}


def workload(network: Staged, stages: Sequence[int]) -> Workload:
    """Return the network of a plan, to be cut into each of these numbers of stages."""
    return Workload(
        model=network.model,
        stages=tuple(stages),
        blocks=network.blocks,
        width=network.width,
        batch_size=network.batch_size,
        image_size=network.image_size,
        classes=network.classes,
    )


def title(work: Workload) -> str:
    """Return the model, its blocks, and its width where that is not its own."""
    return f"{work.title}, width {work.width}" if work.width else work.title


def name_of(entry: Entry) -> str:
    """Return the name under which a contender of the bench is shown."""
    return f"{SID}, {entry.stages} stages" if entry.method == "sid" else _NAMES.get(entry.method, entry.method)


def contenders(work: Workload) -> dict[str, Callable[[], Contender]]:
    """Return what is compared, by name; a call builds it with weights of its own. All update by SGD with momentum."""
    return {name_of(entry): partial(build, work, entry) for entry in entries(work)}


def stages_of(work: Workload) -> dict[str, int]:
    """Return into how many stages each contender cuts the network, 1 for not at all."""
    return {name_of(entry): entry.stages for entry in entries(work)}


def check(networks: Sequence[Staged]) -> None:
    """Cut every network into every number of stages, which takes moments, before anything is measured.

    Raises:
        ConfigError: one cannot be had; names all problems.
    """
    if problems := [problem for network in networks for problem in _problems(network)]:
        raise ConfigError(problems, source="experiment")


def _problems(network: Staged) -> Iterator[str]:
    for stages in network.stages:
        work = workload(network, [stages])
        try:
            work.new_cascade(stages)
        except ConfigError as error:
            yield from (f"{title(work)}: {problem}" for problem in error.problems)
            return
        except (CutError, HeadError) as error:
            yield f"{title(work)} with {stages} stages: {error}"
