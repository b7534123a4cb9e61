"""What every cut of every model promises, whatever the model is."""

import copy
from collections.abc import Callable, Mapping
from random import Random
from typing import Any
from warnings import WarningMessage

import torch
from torch import Tensor

from tests.fuzz.case import BrokenPromiseError
from torchsid import SID, StagedCascade, check_locality
from torchsid.core.beliefs import to_log_belief
from torchsid.core.calling import call, logits_of

Rows = Callable[[Any, Callable[[Tensor, int], Tensor]], Any]
"""Apply a function to every input that has a batch axis: the tensor and that axis."""


def answers_as_before(cascade: StagedCascade, inputs: Any, logits: Tensor, tolerance: float) -> None:
    """The cut model answers as the whole one did."""
    cascade.eval()
    with torch.no_grad():
        close("the cascade's logits", cascade(inputs), logits, tolerance)
        close("its last belief", cascade.log_beliefs(inputs)[-1], to_log_belief(logits), tolerance)


def samples_are_apart(cascade: StagedCascade, inputs: Any, each: Rows, random: Random, tolerance: float) -> None:
    """What one sample is changes only its own beliefs, at every stage; and part of a batch is answered as the whole is."""
    cascade.eval()
    with torch.no_grad():
        whole = cascade.log_beliefs(inputs)
        count = whole.shape[1]
        row, keep = random.randrange(count), random.randint(2, count)
        order = torch.tensor([(row + 1) % count if index == row else index for index in range(count)])
        changed = cascade.log_beliefs(each(inputs, lambda tensor, axis: tensor.index_select(axis, order)))
        others = [index for index in range(count) if index != row]
        close("the beliefs of other samples", changed[:, others], whole[:, others], tolerance)
        close("the beliefs of a sample in another place", changed[:, row], whole[:, (row + 1) % count], tolerance)
        part = cascade.log_beliefs(each(inputs, lambda tensor, axis: tensor.narrow(axis, 0, keep)))
        close("the beliefs of part of a batch", part, whole[:, :keep], tolerance)


def padding_counts_for_nothing(
    cascade: StagedCascade, inputs: Mapping[str, Tensor], pad: int, told: list[WarningMessage], tolerance: float
) -> None:
    """Further padding, which the mask says is none of the text, changes no belief of any stage, or a warning has said so."""
    cascade.eval()
    if any("padding" in str(each.message) for each in told):
        return
    longer = {"input_ids": torch.nn.functional.pad(inputs["input_ids"], (0, 3), value=pad)}
    longer["attention_mask"] = torch.nn.functional.pad(inputs["attention_mask"], (0, 3))
    with torch.no_grad():
        try:
            alone = logits_of(call(cascade.model, longer))
        except Exception:  # a model of texts no longer than this one
            return
        own = logits_of(call(cascade.model, inputs))
        if alone.shape != own.shape or not torch.allclose(alone, own, atol=tolerance, rtol=tolerance):
            return  # the model itself reads padding, or answers at every token
        close("beliefs behind more padding", cascade.log_beliefs(longer), cascade.log_beliefs(inputs), tolerance)


def trains_locally(cascade: StagedCascade, inputs: Any, target: Tensor) -> SID:
    """A step in train mode has finite losses and gradients, and no loss reaches another stage."""
    cascade.train()
    learner = SID(cascade, alpha=0.7)
    output = learner.backward(inputs, target)
    if not output.stage_losses.isfinite().all():
        raise BrokenPromiseError(f"losses {output.stage_losses.tolist()}")
    for stage in range(cascade.depth):
        own = [parameter for _, parameter in cascade.named_stage_parameters(stage) if parameter.requires_grad]
        if own and all(parameter.grad is None for parameter in own):
            raise BrokenPromiseError(f"stage {stage + 1} has no gradient")
        for name, parameter in cascade.named_stage_parameters(stage):
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise BrokenPromiseError(f"the gradient of {name} is not finite")
    cascade.zero_grad()
    check_locality(learner, inputs, target)
    return learner


def gradients_are_those_of_the_own_loss(learner: SID, inputs: Any, target: Tensor, random: Random) -> None:
    """The gradient of every stage is the slope of its own loss, by finite differences in float64.

    The stages before do not see its weights, and what it hands on is none of its business: so the slope is taken with all the rest
    of the cascade running as it does.
    """
    cascade = learner.module
    cascade.eval()
    cascade.zero_grad()
    learner.backward(inputs, target)
    for stage in range(cascade.depth):
        own = [parameter for _, parameter in cascade.named_stage_parameters(stage) if parameter.requires_grad]
        found = [torch.zeros_like(each) if each.grad is None else each.grad.clone() for each in own]
        size = sum(float(each.square().sum()) for each in found) ** 0.5
        towards = [torch.randn_like(each) for each in own]
        length = sum(float(each.square().sum()) for each in towards) ** 0.5 or 1.0
        step = [r / length + (g / size if size else 0) for r, g in zip(towards, found, strict=True)]
        expected = sum(float((g * s).sum()) for g, s in zip(found, step, strict=True))
        slopes = [_slope(learner, inputs, target, stage, own, step, epsilon) for epsilon in (1e-5, 1e-6, 1e-4)]
        if min(abs(slope - expected) for slope in slopes) > 1e-4 * max(size, 1e-3):
            raise BrokenPromiseError(f"the gradient of stage {stage + 1} says {expected}, its loss {slopes}")


def _slope(learner: SID, inputs: Any, target: Tensor, stage: int, own: list[Any], step: list[Tensor], epsilon: float) -> float:
    values = []
    before = [each.detach().clone() for each in own]
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, old, towards in zip(own, before, step, strict=True):
                parameter.copy_(old + sign * epsilon * towards)
        values.append(_loss(learner, inputs, target, stage))
    with torch.no_grad():
        for parameter, old in zip(own, before, strict=True):
            parameter.copy_(old)
    return (values[0] - values[1]) / (2 * epsilon)


@torch.no_grad()
def _loss(learner: SID, inputs: Any, target: Tensor, stage: int) -> float:
    """Return the loss of a stage, up to what does not depend on its weights: −Σ (α p_y + (1−α) p_{i−1}) log p_i."""
    log_beliefs = learner.module.log_beliefs(inputs)
    wanted = torch.nn.functional.one_hot(target, log_beliefs.shape[-1]).to(log_beliefs)
    wanted = 0.7 * wanted + 0.3 * log_beliefs[stage].exp()
    return float(-(wanted * log_beliefs[stage + 1]).sum(-1).mean())


def nothing_is_left_behind(model: torch.nn.Module, before: Mapping[str, Any]) -> None:
    """Cutting a model changes neither its weights nor its buffers."""
    after = model.state_dict()
    if changed := [name for name in before if not _same(before[name], after.get(name))]:
        raise BrokenPromiseError(f"cutting has changed {changed[:5]}")


def state(model: torch.nn.Module) -> Mapping[str, Any]:
    """Return a copy of a model's state."""
    return copy.deepcopy(model.state_dict())


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b or a == b


def close(what: str, found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Two tensors are alike, or it is a finding."""
    if found.shape != wanted.shape:
        raise BrokenPromiseError(f"{what} have the shape {list(found.shape)}, not {list(wanted.shape)}")
    if not torch.allclose(found, wanted, atol=tolerance, rtol=tolerance, equal_nan=True):
        raise BrokenPromiseError(f"{what} differ by up to {float((found - wanted).abs().max()):.3g}")
