"""Which pipelines can be compared: every setting is checked, and every model is cut, before anything is started."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torchsid import heads, models
from torchsid.bench.workload import VIT_BLOCKS, Workload
from torchsid.errors import ConfigError, CutError, HeadError, unknown_name

BLOCKS = 16
WIRES = ("float32", "bfloat16")
DEEP = ("mlp", VIT_BLOCKS)
"""Models whose number of blocks can be chosen."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all contenders of a comparison share."""

    workers: int = 2
    stages: int = 8
    micro_batches: tuple[int, ...] = (2, 4, 8, 16)
    """For the pipelines of backpropagation: each is tried, the best counts."""
    rounds: int = 5
    threads: int = 1
    """Of PyTorch, in each worker."""
    wire: str = "float32"
    """The precision in which SID's pipeline sends features."""
    queue: int = 2
    """The most messages between two workers of SID's pipeline."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Settings":
        """Return the settings of which `dataclasses.asdict` went through JSON."""
        return cls(**{**values, "micro_batches": tuple(values["micro_batches"])})

    @property
    def steps_a_turn(self) -> int:
        """Steps that are counted in a turn: enough for the pipeline to be full for two thirds of them."""
        return max(6, 3 * self.workers)


def plan_pipelines(
    names: Sequence[str],
    settings: Settings,
    *,
    blocks: int | None = None,
    width: int | None = None,
    batch_size: int = 128,
    image_size: int = 32,
    classes: int = 10,
    head: str = "auto",
) -> list[Workload]:
    """Return one workload a model; nothing is measured yet.

    Args:
        names: of classifiers, or `vit-blocks`, a narrow vision transformer of equal blocks.
        settings: of the comparison.
        blocks: of `mlp` and `vit-blocks`, 16 by default.
        width: of the models, their own by default.
        batch_size: B, a multiple of the workers and of every number of micro-batches.
        image_size: S.
        classes: C.
        head: of the stages, a name of `torchsid.heads.names()` or `auto`.

    Raises:
        ConfigError: a setting is wrong, or a model cannot be cut; names all problems.
    """
    allowed = (*models.classifier_names(), VIT_BLOCKS)
    problems = [
        *(unknown_name("model", name, allowed) for name in names if name not in allowed),
        *_wrong_settings(settings),
        *_wrong_batch(batch_size, settings),
    ]
    if blocks and not set(names) & set(DEEP):
        problems.append(f"blocks {blocks}: only {' and '.join(DEEP)} have them, not {', '.join(names)}; leave them out")
    if classes < 2:
        problems.append(f"classes {classes}: a belief needs 2 or more")
    if head not in ("auto", *heads.names()):
        problems.append(unknown_name("head", head, ("auto", *heads.names())))
    workloads = [
        Workload(
            model=name,
            stages=(settings.stages,),
            blocks=blocks or BLOCKS if name in DEEP else None,
            width=width,
            batch_size=batch_size,
            image_size=image_size,
            classes=classes,
            head=head,
        )
        for name in dict.fromkeys(names)
    ]
    if not problems:
        problems = [problem for workload in workloads for problem in _not_cut(workload)]
    if problems:
        raise ConfigError(problems, source="bench")
    return workloads


def _wrong_settings(settings: Settings) -> list[str]:
    problems = []
    if settings.workers < 2:
        problems.append(f"workers {settings.workers}: a pipeline needs 2 or more")
    if settings.stages < settings.workers:
        problems.append(
            f"workers {settings.workers}, stages {settings.stages}: every worker needs a stage; "
            f"give {settings.workers} stages or more, or fewer workers"
        )
    if settings.rounds < 2:
        problems.append(f"rounds {settings.rounds}: quartiles need 2 or more")
    if settings.wire not in WIRES:
        problems.append(unknown_name("wire", settings.wire, WIRES))
    return problems


def _wrong_batch(batch_size: int, settings: Settings) -> list[str]:
    problems = []
    for number in settings.micro_batches:
        if number < 2:
            problems.append(f"micro-batches {number}: a pipeline of backpropagation needs 2 or more")
        elif batch_size % number:
            problems.append(f"micro-batches {number}: they must divide the batch of {batch_size}")
        elif batch_size // number < 2:
            problems.append(f"micro-batches {number} of a batch of {batch_size}: each needs 2 images, for BatchNorm")
    if batch_size % max(settings.workers, 1):
        problems.append(f"batch size {batch_size}: data parallelism splits it over {settings.workers} workers; give a multiple")
    return problems


def _not_cut(workload: Workload) -> list[str]:
    (stages,) = workload.stages
    try:
        workload.new_cascade(stages, by="graph")
    except ConfigError as error:
        return [f"{workload.model}: {problem}" for problem in error.problems]
    except (CutError, HeadError) as error:
        return [f"{workload.title} with {stages} stages: {error}"]
    return []
