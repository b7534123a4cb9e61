"""How far the stages' gradients reach, and whether they pull a shared extractor in different directions.

The proof, on real tensors, that a learner is local: no stage's loss reaches another stage's parameters. Losses are switched on and
off by their scales. Stage j's gradient must be exactly zero whenever its own loss is off, whatever the others do. Instead of
testing all L² pairs one by one, stages are switched by the bits of their index: two stages that differ have a bit in which they
differ, so `2·⌈log₂ L⌉` runs prove every pair. With a window of w stages each of the L losses is on alone once: it may reach the w
stages of its window and no other.
"""

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from torchsid.core.calling import Inputs
from torchsid.core.cascade import Cascade
from torchsid.core.combine import PCGrad
from torchsid.core.layers import Layered
from torchsid.core.learner import Learner
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
        proof = f"{self.parameters} stage parameters, {self.runs} runs"
        if self.window > 1:
            return f"local: no loss reaches back over more than {self.window} of {self.stages} stages ({proof})"
        return f"local: none of {self.stages * (self.stages - 1)} ordered pairs of stages exchanges a gradient ({proof})"


def check_locality(learner: Learner, x: Inputs, target: Tensor, *, weight: Tensor | None = None) -> LocalityReport:
    """Prove that stage i's loss changes no other stage's gradient, by running the learner's own `backward`.

    The network, its gradients and the random number generators are left as they were.

    Args:
        learner: one whose losses reach back over a `window` of stages, or layers, as those of `SID`.
        x: a small batch.
        target: its targets.
        weight: of each position, if they do not all count the same; see `Learner.backward`.

    Raises:
        LocalityError: a stage's loss reaches another stage's parameter; both are named.
        ValueError: the learner has no stages with losses of their own (`Backprop`).
    """
    if learner.window is None:
        raise ValueError(f"{type(learner).__name__} has one loss for the whole network, which is not local: give a SID learner")
    cascade, window = cast("Cascade | Layered", learner.module), learner.window

    def leaks(mask: Tensor) -> list[tuple[int, str]]:
        """Return stage and name of every parameter with a gradient though no loss that reaches its stage is on."""
        with without_side_effects(cascade):
            learner.backward(x, target, weight=weight, scale=mask)
            return [
                (stage, name)
                for stage in range(cascade.depth)
                if not mask[stage : stage + window].any()
                for name, parameter in cascade.named_stage_parameters(stage)
                if parameter.grad is not None and parameter.grad.any()
            ]

    alone = torch.eye(cascade.depth)
    masks = _bit_masks(cascade.depth) if window == 1 else [*alone]
    for mask in masks:
        if found := leaks(mask):
            (receiver, name), on = found[0], mask.nonzero().flatten().tolist()
            senders = [stage for stage in on if (receiver, name) in leaks(alone[stage])]
            sender = f"the loss of stage {senders[0] + 1} changes" if senders else "losses of other stages change"
            way_out = "detach what passes between the stages, and give each stage parameters of its own"
            raise LocalityError(f"{sender} the gradient of stage {receiver + 1}, parameter {name!r}: {way_out}")
    count = sum(len(list(cascade.named_stage_parameters(stage))) for stage in range(cascade.depth))
    return LocalityReport(stages=cascade.depth, parameters=count, runs=len(masks), window=window)


def _bit_masks(depth: int) -> list[Tensor]:
    """Return the 0/1 scales of every run, each `[L]`: for each bit of the index, the stages that have it, then the others."""
    index = torch.arange(depth)
    bits = [((index >> bit) & 1).float() for bit in range((depth - 1).bit_length())]
    return [mask for has_bit in bits for mask in (has_bit, 1 - has_bit)]


def gradient_conflict(learner: SID, x: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return the pairwise cosines of the stages' gradients with respect to the shared features, `[L, L]`.

    Below 0, two stages ask the extractor for opposite changes. The gradients are `∂L_i/∂z` over the whole batch; a stage with no
    gradient has cosine 0 with every other. The network, its gradients and the random number generators are left as they were.

    Args:
        learner: a SID learner on a shared cascade whose extractor has parameters.
        x: a batch, `[B, ...]`.
        target: its targets.
        weight: of each position, if they do not all count the same.

    Raises:
        ValueError: fewer than L stages send the extractor a gradient.
    """
    kept = PCGrad()  # which keeps every gradient
    with without_side_effects(learner.module):
        learner.schedule(replace(learner.new_step(x, target, weight=weight), combiner=kept))
    if len(kept.gradients) != learner.module.depth:
        found = f"{len(kept.gradients)} of {learner.module.depth} stages send the extractor a gradient"
        raise ValueError(f"{found}: conflict is measured on a shared cascade whose extractor learns from all")
    flat = torch.stack(kept.gradients).flatten(1).double()  # [L, B·F]
    directions = F.normalize(flat, eps=torch.finfo(flat.dtype).tiny)
    return (directions @ directions.T).clamp(-1, 1).float()
