"""Which comparisons can be made: every setting is checked, and every model is cut, before anything is measured or started."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from torchsid import heads, models
from torchsid.bench.synthetic import SIZES_OF, Several
from torchsid.bench.workload import OPTIONS, SHARED, VIT_BLOCKS, Workload, blocks_setting, head_of, network_of, task_of
from torchsid.cut.assemble import By
from torchsid.distributed.channel import Wire
from torchsid.errors import ConfigError, CutError, HeadError, unknown_name
from torchsid.settings import out_of_range

STAGES = (2, 4, 8, 12)
LEAST_BATCH = 8  # four micro-batches of two samples, which BatchNorm needs
BLOCKS = 16  # in a pipeline, of networks that let them be chosen


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """What all contenders on several workers share."""

    workers: Several = 2
    stages: int = 8
    micro_batches: tuple[int, ...] = (4, 8)  # each is tried, and the best counts; one worker and SID try none as well
    rounds: Several = 5
    threads: int = 1  # of PyTorch, in each worker
    wire: Wire = "float32"  # the precision in which SID's pipeline sends features
    queue: int = 2  # the most messages between two workers of SID's pipeline

    @property
    def steps_a_turn(self) -> int:
        """Steps that are counted in a turn: enough for the pipeline to be full for two thirds of them."""
        return max(6, 3 * self.workers)


def plan_shared(
    depths: Sequence[int],
    batch_size: int = 128,
    *,
    variants: Sequence[str] = ("float32",),
    device: str = "auto",
    problems: Sequence[str] = (),
) -> list[Workload]:
    """Return the paper's network of each depth: an MLP of 784, 256 and 128 features as extractor, and 100 classes.

    The other arguments are those of `plan_workloads`; no variant is `compiled`. All that is wrong is one ConfigError.
    """
    where = _where(device)
    compiled = [each for each in variants if "compiled" in each.split("+")]
    problems = [*problems, *_wrong_device(device), *_wrong_variants(variants, where)]
    problems += [f"variant {each}: the shared cascade is not compiled; leave it out" for each in compiled]
    if problems:
        raise ConfigError(problems, source="bench")
    one = Workload(model=SHARED, stages=(1,), batch_size=batch_size, channels=1, image_size=28, classes=100, device=where)
    return [replace(one, stages=(depth,), variant=variant) for depth in depths for variant in _in_order(variants)]


def plan_workloads(
    names: Sequence[str],
    stages: Sequence[int] | None = None,
    *,
    blocks: Sequence[int] = (),
    variants: Sequence[str] = ("float32",),
    device: str = "auto",
    problems: Sequence[str] = (),
    **sizes: Any,
) -> tuple[list[Workload], list[str]]:
    """Return what can be compared, and a note on every number of stages that a model cannot be cut into; nothing is measured yet.

    There are 2, 4, 8 and 12 stages by default; with `blocks`, of networks that let them be chosen, as many stages as blocks. A
    variant is some options joined by `+`; the device is auto, cpu or cuda; `sizes` are fields of `Workload`. All that is wrong,
    with the problems that the caller has found, is one ConfigError.
    """
    asked = dict.fromkeys((name, block) for name in names for block in (blocks or (None,)))
    several = tuple(sorted(set(stages or STAGES)))
    where = _where(device)
    workloads = [
        Workload(model=name, stages=several if stages or not block else (block,), blocks=block, device=where, **sizes)
        for name, block in asked
    ]
    problems = [
        *problems,
        *_wrong_models(names, blocks, sizes),
        *_wrong_variants(variants, where),
        *_wrong_stages(stages, blocks),
        *_wrong_sizes(workloads[0]),
        *_wrong_device(device),
    ]
    if (size := workloads[0].batch_size) < LEAST_BATCH:
        problems.append(f"batch size {size}: give {LEAST_BATCH} or more, for four micro-batches of two samples")
    planned: list[Workload] = []
    notes: list[str] = []
    for workload in workloads if not problems else ():
        found, why = possible_stages(workload)
        (notes if found else problems).extend(why)
        planned += [replace(workload, stages=found, variant=variant) for variant in _in_order(variants)]
    if problems:
        raise ConfigError(problems, source="bench")
    return planned, notes


def plan_pipelines(
    names: Sequence[str],
    settings: PipelineSettings,
    *,
    blocks: int | None = None,
    problems: Sequence[str] = (),
    **sizes: Any,
) -> list[Workload]:
    """Return one workload a model, to be trained on several workers; nothing is measured yet.

    The names are of classifiers, or `vit-blocks`. Where the number of blocks can be chosen there are 16 by default. The batch is a
    multiple of the workers and of every number of micro-batches; see `plan_workloads`, also for what is wrong.
    """
    deep = {name for name in names if name in (*models.synthetic_names(), VIT_BLOCKS) and blocks_setting(network_of(name))}
    workloads = [
        Workload(model=name, stages=(settings.stages,), blocks=(blocks or BLOCKS) if name in deep else None, **sizes)
        for name in dict.fromkeys(names)
    ]
    problems = [
        *problems,
        *_wrong_models(names, [blocks] if blocks and not deep else [], sizes, also=(VIT_BLOCKS,)),
        *_wrong_settings(settings, workloads[0].batch_size),
        *_wrong_sizes(workloads[0]),
    ]
    problems = problems or [why for workload in workloads for why in possible_stages(workload, by="graph")[1]]
    problems = problems or [
        f"{workload.model}: a mask of its tokens crosses the cuts, which pipelines of backpropagation cannot send"
        for workload in workloads
        if workload.samples.task == "text"
    ]
    if problems:
        raise ConfigError(problems, source="bench")
    return workloads


def possible_stages(workload: Workload, by: By | None = None) -> tuple[tuple[int, ...], list[str]]:
    """Return the numbers of stages that the model can be cut into, and why it cannot be into the others."""
    try:
        workload.new_model()
    except ValueError as error:
        return (), [f"{workload.model}: {problem}" for problem in getattr(error, "problems", [str(error)])]
    possible, why = [], []
    for stages in workload.stages:
        try:
            workload.new_cascade(stages, by)
        except (CutError, HeadError) as error:
            why.append(f"{workload.title} with {stages} stages: {error}")
        else:
            possible.append(stages)
    return tuple(possible), why


def _wrong_models(names: Sequence[str], blocks: Sequence[int], sizes: Mapping[str, Any], also: Sequence[str] = ()) -> Iterator[str]:
    allowed = (*models.synthetic_names(), *also)
    yield from _unknown("model", names, allowed)
    known = {name: network_of(name) for name in dict.fromkeys(names) if name in allowed}
    if fixed := [name for name in known if blocks and not blocks_setting(known[name])]:
        able = [name for name in allowed if blocks_setting(network_of(name))]
        yield f"blocks {', '.join(map(str, blocks))}: {', '.join(fixed)} has a fixed number; choose from {', '.join(able)}"
    read = {size for network in known.values() for size in SIZES_OF[task_of(network)]}
    for size in ("image_size", "classes", "context", "vocabulary"):
        if known and size in sizes and size not in read:
            fitting = " and ".join(task for task, found in SIZES_OF.items() if size in found)
            yield f"{size.replace('_', ' ')} {sizes[size]}: of networks for {fitting}, not of {', '.join(known)}; leave it out"


def _unknown(kind: str, names: Sequence[str], allowed: Sequence[str]) -> list[str]:
    return [unknown_name(kind, name, allowed) for name in names if name not in allowed]


def _where(device: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _wrong_device(device: str) -> Iterator[str]:
    yield from _unknown("device", [device], ("auto", "cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        yield "device cuda: PyTorch finds none here; use cpu or auto"


def _in_order(variants: Sequence[str]) -> list[str]:
    """Return each variant once, with its options once, in their own order; `float32` adds nothing to others."""
    sets = [set(variant.split("+")) for variant in variants]
    ordered = ("+".join(each for each in OPTIONS if each in options - {"float32"}) or "float32" for options in sets)
    return list(dict.fromkeys(ordered))


def _wrong_variants(variants: Sequence[str], device: str) -> Iterator[str]:
    for variant in variants:
        options = variant.split("+")
        yield from _unknown("variant", options, OPTIONS)
        if {"float32", "bfloat16"} <= set(options):
            yield f"variant {variant}: float32 and bfloat16 exclude each other; leave one out"
        if "captured" in options and device == "cpu":
            yield f"variant {variant}: a step is captured as a CUDA graph; use device cuda, or leave captured out"


def _wrong_sizes(workload: Workload) -> list[str]:
    try:
        kinds = [head_of(workload.head)[0]]
    except ValueError as error:
        return [*out_of_range(workload), str(error)]
    return [*out_of_range(workload), *_unknown("head", kinds, ("auto", *heads.names()))]


def _wrong_stages(stages: Sequence[int] | None, blocks: Sequence[int]) -> Iterator[str]:
    if (least := min(stages or STAGES)) < 2:
        yield f"stages {least}: give 2 or more; 1 is backpropagation, which is measured anyway"
    if blocks and not stages and min(blocks) < 2:
        yield f"blocks {min(blocks)}: give 2 or more, since there are as many stages, or give the stages"


def _wrong_settings(settings: PipelineSettings, batch_size: int) -> Iterator[str]:
    workers = settings.workers
    yield from out_of_range(settings)
    if settings.stages < workers:
        wanted = f"every worker needs a stage; give {workers} stages or more, or fewer workers"
        yield f"workers {workers}, stages {settings.stages}: {wanted}"
    for number in settings.micro_batches:
        if number < 2:
            yield f"micro-batches {number}: a pipeline of backpropagation needs 2 or more"
        elif batch_size % number:
            yield f"micro-batches {number}: they must divide the batch of {batch_size}"
        elif batch_size // number < 2:
            yield f"micro-batches {number} of a batch of {batch_size}: each needs 2 samples, for BatchNorm"
    if batch_size % max(workers, 1):
        yield f"batch size {batch_size}: data parallelism splits it over {workers} workers; give a multiple"
