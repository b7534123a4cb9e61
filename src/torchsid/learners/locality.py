"""Proof, on real tensors, that a learner is local: no stage's loss reaches another stage's parameters.

Losses are switched on and off by their scales. Stage j's gradient must be exactly zero whenever its own loss is off, whatever
the others do. Instead of testing all L² pairs one by one, stages are switched by the bits of their index: two stages that differ
have a bit in which they differ, so `2·⌈log₂ L⌉` runs prove every pair. With a window of w
stages each of the L losses is on alone once: it may reach the w stages of its window and no other.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchsid.core.calling import Inputs
from torchsid.core.side_effects import without_side_effects
from torchsid.errors import LocalityError
from torchsid.learners.sid import SID


@dataclass(frozen=True)
class LocalityReport:
    """What was proven, and by how many runs."""

    stages: int
    parameters: int
    runs: int
    window: int = 1

    def __str__(self) -> str:
        pairs = self.stages * (self.stages - 1)
        proof = f"{self.parameters} stage parameters, {self.runs} runs"
        if self.window > 1:
            return f"local: no loss reaches back over more than {self.window} of {self.stages} stages ({proof})"
        return f"local: none of {pairs} ordered pairs of stages exchanges a gradient ({proof})"


def check_locality(learner: SID, x: Inputs, target: Tensor, *, weight: Tensor | None = None) -> LocalityReport:
    """Prove that stage i's loss changes no other stage's gradient, by running the learner's own `backward`.

    The network, its gradients and the random number generators are left as they were.

    Args:
        learner: a SID learner.
        x: a small batch.
        target: its targets.
        weight: of each position, if they do not all count the same; see `Learner.backward`.

    Raises:
        LocalityError: a stage's loss reaches another stage's parameter; both are named.
        ValueError: the learner has no stages with losses of their own (`Backprop`).
    """
    if not isinstance(learner, SID):
        raise ValueError(
            f"{type(learner).__name__} has one loss for the whole network: there is no locality to check; give a SID learner"
        )
    depth = learner.module.depth
    masks = _bit_masks(depth) if learner.window == 1 else [*torch.eye(depth)]
    for mask in masks:
        _check_silent(learner, mask, x, target, weight)
    count = sum(len(list(learner.module.named_stage_parameters(stage))) for stage in range(depth))
    return LocalityReport(stages=depth, parameters=count, runs=len(masks), window=learner.window)


def _bit_masks(depth: int) -> list[Tensor]:
    """Return the 0/1 scales of every run, each `[L]`: for each bit of the index, the stages that have it, then the others."""
    index = torch.arange(depth)
    masks = []
    for bit in range((depth - 1).bit_length()):
        has_bit = ((index >> bit) & 1).float()
        masks += [has_bit, 1 - has_bit]
    return masks


def _check_silent(learner: SID, mask: Tensor, *batch: Any) -> None:
    """Raise if a stage that no loss may reach receives a gradient."""
    leaks = _leaks(learner, mask, *batch)
    if not leaks:
        return
    receiver, name = leaks[0]
    for sender in mask.nonzero().flatten().tolist():  # which of the losses that were on?
        alone = torch.zeros_like(mask)
        alone[sender] = 1
        if (receiver, name) in _leaks(learner, alone, *batch):
            raise LocalityError(
                f"the loss of stage {sender + 1} changes the gradient of stage {receiver + 1}, parameter {name!r}: "
                "detach what passes between the stages, and give each stage parameters of its own"
            )
    raise LocalityError(f"losses of other stages change the gradient of stage {receiver + 1}, parameter {name!r}")


def _leaks(learner: SID, mask: Tensor, x: Inputs, target: Tensor, weight: Tensor | None) -> list[tuple[int, str]]:
    """Return stage and name of every parameter with a gradient though no loss that reaches its stage is on."""
    with without_side_effects(learner.module):
        learner.backward(x, target, weight=weight, scale=mask)
        return [
            (j, name)
            for j in range(learner.module.depth)
            if not mask[j : j + learner.window].any()
            for name, parameter in learner.module.named_stage_parameters(j)
            if _touched(parameter)
        ]


def _touched(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool((parameter.grad != 0).any())
