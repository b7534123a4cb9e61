"""Which comparisons can be made: every setting is checked, and every model is cut, before anything is measured."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast, get_args

import torch

from torchsid import heads, models
from torchsid.bench.workload import Variant, Workload
from torchsid.errors import ConfigError, CutError, HeadError, unknown_name

STAGES = (2, 4, 8, 12)
DEVICES = ("auto", "cpu", "cuda")
LEAST_BATCH = 8  # four micro-batches of two images, which BatchNorm needs


def plan_workloads(
    names: Sequence[str],
    stages: Sequence[int] | None = None,
    *,
    blocks: Sequence[int] = (),
    variants: Sequence[str] = ("float32",),
    device: str = "auto",
    width: int | None = None,
    batch_size: int = 128,
    image_size: int = 32,
    classes: int = 10,
    head: str = "auto",
) -> tuple[list[Workload], list[str]]:
    """Return what can be compared, and a note on every number of stages that a model cannot be cut into; nothing is measured yet.

    Args:
        names: of classifiers.
        stages: their numbers, 2, 4, 8 and 12 by default.
        blocks: of the block MLP, the only model then, with as many stages as blocks.
        variants: float32, bfloat16, channels-last, compiled.
        device: auto, cpu or cuda.
        width: of the model, its own by default.
        batch_size: B.
        image_size: S.
        classes: C.
        head: a name of `torchsid.heads.names()`, or `auto`.

    Raises:
        ConfigError: a setting is wrong, or a model cannot be cut into any number of the stages; names all problems.
    """
    problems = [
        *(unknown_name("model", name, models.classifier_names()) for name in names if name not in models.classifier_names()),
        *(unknown_name("variant", name, get_args(Variant)) for name in variants if name not in get_args(Variant)),
        *_wrong_stages(names, stages, blocks),
        *_wrong_batch(batch_size, classes),
    ]
    if head not in ("auto", *heads.names()):
        problems.append(unknown_name("head", head, ("auto", *heads.names())))
    cuda = torch.cuda.is_available()
    if device not in DEVICES:
        problems.append(unknown_name("device", device, DEVICES))
    elif device == "cuda" and not cuda:
        problems.append("device cuda: PyTorch finds none here; use cpu or auto")
    planned: list[Workload] = []
    notes: list[str] = []
    asked = dict.fromkeys((name, block) for name in names for block in (blocks or (None,)))
    for name, block in asked if not problems else ():
        workload = Workload(
            model=name,
            stages=(block,) if block else tuple(sorted(set(stages or STAGES))),
            blocks=block,
            width=width,
            batch_size=batch_size,
            image_size=image_size,
            classes=classes,
            head=head,
            device=("cuda" if cuda else "cpu") if device == "auto" else device,
        )
        found, why = _possible_stages(workload)
        (notes if found else problems).extend(why)
        planned += [replace(workload, stages=found, variant=cast("Variant", variant)) for variant in dict.fromkeys(variants)]
    if problems:
        raise ConfigError(problems, source="bench")
    return planned, notes


def _wrong_stages(names: Sequence[str], stages: Sequence[int] | None, blocks: Sequence[int]) -> list[str]:
    problems = []
    if min(stages or STAGES) < 2:
        problems.append(f"stages {min(stages or STAGES)}: give 2 or more; 1 is backpropagation, which is measured anyway")
    if blocks and list(names) != ["mlp"]:
        problems.append(f"blocks: only the model mlp has them, not {', '.join(names)}; use --model mlp")
    if blocks and min(blocks) < 2:
        problems.append(f"blocks {min(blocks)}: give 2 or more, since there are as many stages")
    if blocks and stages:
        problems.append("stages and blocks: there are as many stages as blocks; leave the stages out")
    return problems


def _wrong_batch(batch_size: int, classes: int) -> list[str]:
    problems = []
    if batch_size < LEAST_BATCH:
        problems.append(f"batch size {batch_size}: give {LEAST_BATCH} or more, for four micro-batches of two images")
    if classes < 2:
        problems.append(f"classes {classes}: a belief needs 2 or more")
    return problems


def _possible_stages(workload: Workload) -> tuple[tuple[int, ...], list[str]]:
    """Return the numbers of stages that the model can be cut into, and why it cannot be into the others."""
    try:
        workload.new_model()
    except ConfigError as error:
        return (), [f"{workload.model}: {problem}" for problem in error.problems]
    possible, why = [], []
    for stages in workload.stages:
        try:
            workload.new_cascade(stages)
        except (CutError, HeadError) as error:
            why.append(f"{workload.title} with {stages} stages: {error}")
        else:
            possible.append(stages)
    return tuple(possible), why
