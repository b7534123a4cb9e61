"""One step of a staged cascade: every stage is differentiated, and freed, before the next one runs.

A loss reaches back over `window` stages. With w = 1, which is SID, nothing crosses a cut. With 1 < w < L the graphs of the last w
stages are kept, and loss i is carried back through stages i, i−1 … i−w+1 and stopped there: stage k is differentiated once for
each of the losses k … k+w−1 that reach it. With w = L no cut is left: all losses are differentiated in one backward pass, which
is backpropagation with deep supervision.
"""

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from torchsid.core.beliefs import to_log_belief
from torchsid.core.learner import StepOutput
from torchsid.core.schedules.step import Step
from torchsid.core.staged import StagedCascade
from torchsid.errors import LocalityError


def staged_pass(step: Step[StagedCascade]) -> StepOutput:
    """Fill `.grad` of every parameter in one pass through the model.

    Raises:
        LocalityError: a tensor from before a cut is used behind it, past the cut.
    """
    losses = _EndToEnd(step) if step.window >= step.cascade.depth else _Local(step)
    step.cascade.run(step.x, losses.close)
    losses.finish()
    return StepOutput(torch.stack(losses.values), losses.log_belief)


class _Losses:
    """The local losses along the way, and `∂L_i/∂logits` of each."""

    def __init__(self, step: Step[StagedCascade]) -> None:
        self.step, self.cascade = step, step.cascade
        self.alphas = step.objective.alphas(step.cascade.depth)
        self.log_belief = step.cascade.prior(step.log_target) if step.log_belief is None else step.log_belief
        self.values: list[Tensor] = []

    def judge(self, stage: int, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of a stage and the gradient that its loss gives them, both `[B, C]`."""
        step = self.step
        log_previous = self.log_belief if step.teachers is None else step.teachers[stage]
        logits = self.cascade.heads[stage](features, log_previous)
        self.log_belief = to_log_belief(logits.detach())
        loss, gradient = step.judge(stage, self.log_belief, log_previous, self.alphas[stage])
        self.values.append(loss)
        return logits, gradient.to(logits.dtype)

    def hand_on(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Return what the next stage may read, and change in place where it does, while these tensors wait for a backward pass."""
        return [tensor.clone() for tensor in tensors] if stage in self.cascade.overwritten else tensors


class _EndToEnd(_Losses):
    """Every loss reaches the input: one backward pass at the end."""

    def __init__(self, step: Step[StagedCascade]) -> None:
        super().__init__(step)
        self.logits: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def close(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Remember the logits; the next stage reads the tensors as they are, graph and all."""
        logits, gradient = self.judge(stage, tensors[0])
        if logits.requires_grad:
            self.logits.append(logits)
            self.gradients.append(gradient)
        return self.hand_on(stage, tensors)

    def finish(self) -> None:
        """Differentiate all losses at once."""
        if self.logits:
            torch.autograd.backward(self.logits, self.gradients)
        for stage in range(self.cascade.depth):
            self.step.on_trained(stage)


@dataclass(frozen=True)
class _Piece:
    """The graph of one stage: from the leaves it began with to the tensors it handed on."""

    stage: int
    leaves: list[Tensor]
    outputs: list[Tensor]


class _Local(_Losses):
    """Loss i reaches stages i−w+1 … i, and the graph of a stage is freed after the last loss that reaches it."""

    def __init__(self, step: Step[StagedCascade]) -> None:
        super().__init__(step)
        self.pieces: deque[_Piece] = deque()  # the stages that a later loss will reach, oldest first
        self.leaves: list[Tensor] = []  # what the stage that is running began with

    def close(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Differentiate the stage's loss as far as it reaches; hand on the tensors without their graph."""
        logits, gradient = self.judge(stage, tensors[0])
        if logits.requires_grad:
            self._backward(stage, logits, gradient)
        del logits  # and with them the graph of the head
        self.pieces.append(_Piece(stage, self.leaves, tensors))
        while self.pieces and stage >= self._last_loss(self.pieces[0].stage):
            self.step.on_trained(self.pieces.popleft().stage)
        self.leaves = [tensor.detach().requires_grad_(self.step.window > 1 and tensor.requires_grad) for tensor in tensors]
        return self.hand_on(stage, self.leaves) if self.step.window > 1 else self.leaves

    def finish(self) -> None:
        """Nothing is left to do."""
        assert not self.pieces

    def _last_loss(self, stage: int) -> int:
        """Return the last stage whose loss reaches `stage`."""
        return min(stage + self.step.window, self.cascade.depth) - 1

    def _backward(self, stage: int, logits: Tensor, gradient: Tensor) -> None:
        try:
            torch.autograd.backward([logits], [gradient], retain_graph=stage < self._last_loss(stage))
            gradients = _take(self.leaves)
            for piece in reversed(self.pieces):
                if not gradients:
                    break
                outputs = [piece.outputs[i] for i in gradients]
                torch.autograd.backward(outputs, list(gradients.values()), retain_graph=stage < self._last_loss(piece.stage))
                gradients = _take(piece.leaves)
        except RuntimeError as error:
            if "backward through the graph a second time" not in str(error):
                raise
            raise LocalityError(
                f"the loss of stage {stage + 1} reaches back past its cut, into a stage that is done: a tensor from before the cut "
                "is used behind it (a long skip connection, or something that the model keeps between calls); cut elsewhere, or "
                "use by='graph', which carries such a tensor along"
            ) from None


def _take(leaves: list[Tensor]) -> dict[int, Tensor]:
    """Return the gradients that arrived at the leaves, by position, and clear them."""
    gradients = {i: leaf.grad for i, leaf in enumerate(leaves) if leaf.grad is not None}
    for leaf in leaves:
        leaf.grad = None
    return gradients
