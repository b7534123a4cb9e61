"""Random networks, cut at random points in both ways: what was promised holds, or the cut is refused in a sentence."""

import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from tests.fuzz import checks
from tests.fuzz.case import NAMED, BrokenPromiseError, named
from tests.fuzz.networks import CLASSES, Stranger, stranger
from torchsid import StagedCascade, heads, staged_cascade
from torchsid.core.calling import call, logits_of

TOLERANCE = 1e-9


def case(random: Random, folder: Path) -> str:
    """Draw a network, cut it, and check all that a cut promises."""
    made = stranger(random)
    model, inputs, before = made.model.eval(), made.inputs, checks.state(made.model)
    with torch.no_grad():
        answer = call(model, inputs)
    logits = answer["logits"] if isinstance(answer, dict) else logits_of(answer)
    model.load_state_dict(before)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            cascade = cut(model, inputs, random)
        shake(cascade)
        target = torch.randint(CLASSES, logits.shape[:-1])
        checks.answers_as_before(cascade, inputs, logits, TOLERANCE)
        checks.samples_are_apart(cascade, inputs, rows(made), random, TOLERANCE)
        if isinstance(inputs, dict) and "attention_mask" in inputs:
            checks.padding_counts_for_nothing(cascade, inputs, 0, told, TOLERANCE)
        learner = checks.trains_locally(cascade, inputs, target)
        checks.gradients_are_those_of_the_own_loss(learner, inputs, target, random)
        channels_are_read(cascade, made)
    except NAMED as error:
        return f"{made.name}: refused, {named(error)}"
    return f"{made.name}: cut"


def cut(model: nn.Module, inputs: Any, random: Random) -> StagedCascade:
    """Cut a model at random: a number of stages or names of its submodules, either way, any head; three tries.

    Raises:
        ValueError: one of the errors that a user may meet, at every try.
    """
    names = [name for name, module in model.named_modules() if name and not isinstance(module, nn.ModuleList)]
    for tries_left in (2, 1, 0):
        picked = sorted(random.sample(range(len(names)), min(len(names), random.randint(1, 3))))
        wanted = {
            "stages": random.choice([2, 3, 4, [names[index] for index in picked]]),
            "by": random.choice(["boundary", "boundary", "boundary", "graph"]),
            "head": random.choice(["auto", "auto", *heads.names()]),
            "balance": random.choice(["work", "memory", "equal"]),
        }
        try:
            return staged_cascade(model, CLASSES, example=inputs, max_head_share=100.0, **wanted)
        except NAMED as error:
            named(error)
            if not tries_left:
                raise
    raise AssertionError


def shake(cascade: StagedCascade) -> None:
    """Give zero output layers, which would hide what the heads read, values."""
    with torch.no_grad():
        for parameter in cascade.heads.parameters():
            if parameter.is_floating_point() and not parameter.any():
                parameter.normal_(std=0.3)


def rows(made: Stranger) -> checks.Rows:
    """Return what applies a function to the inputs of a stranger that have a batch axis."""

    def each(inputs: Any, function: Callable[[Tensor, int], Tensor]) -> Any:
        if isinstance(inputs, dict):
            return {key: function(x, made.batch[key]) if key in made.batch else x for key, x in inputs.items()}
        if isinstance(inputs, tuple):
            return tuple(function(x, made.batch[key]) if key in made.batch else x for key, x in enumerate(inputs))
        return function(inputs, made.batch[None])

    return each


def channels_are_read(cascade: StagedCascade, made: Stranger) -> None:
    """A linear head has a weight for every channel, and not for every position."""
    assert cascade.plan
    if made.form is None:
        return
    for stage, row in enumerate(cascade.plan.stages[:-1]):
        shape = list(made.form.shape(0))
        del shape[made.form.batch]
        if row.head != "linear" or len(row.features) != len(shape):
            continue
        weights = max((each for each in cascade.heads[stage].parameters() if each.dim() == 2), key=lambda each: each.numel())
        axis = made.form.channels - (made.form.channels > made.form.batch)
        width = row.features[axis] if made.form.batch == 0 else row.features[-1]
        if weights.shape[1] not in (width, width + CLASSES):
            raise BrokenPromiseError(
                f"the head of stage {stage + 1} reads {weights.shape[1]} numbers of {row.features}, channels are {width}"
            )
