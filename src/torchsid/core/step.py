"""One step of SID: every stage is differentiated, and its graph freed, before the next one runs.

    for i = 1 … L:   p_i = softmax(f_i(sg(h_{i−1}), p_{i−1}))
                     L_i = α D(p_i, p_y) + (1−α) D(p_i, sg(p_{i−1}));   stage i gets ∇L_i     (arXiv 2510.03273, algorithm 1)

Stage i's detached answer is the teacher of stage i+1, so nothing is computed twice and one stage's graph exists at a time. Two
variations: a shared extractor gets a combination of all `∂L_i/∂z`, last; and in a staged cascade a loss may reach back over a
*window* of w stages. With 1 < w < L the graphs of the last w stages are kept, and loss i is carried back through stages i … i−w+1:
losses of one window travel different distances, so each takes a pass of its own. With w = L no cut is left, and one pass does.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from torchsid.core.beliefs import check_positions, mean, share, to_log_belief
from torchsid.core.calling import Inputs
from torchsid.core.cascade import Cascade, do_nothing
from torchsid.core.combine import GradientCombiner
from torchsid.core.learner import StepOutput
from torchsid.core.objective import LocalObjective
from torchsid.core.shared import SharedCascade
from torchsid.errors import LocalityError


@dataclass(frozen=True, kw_only=True)
class Step:
    """One batch through one cascade.

    Attributes:
        cascade: L stages; its parameters get their `.grad`.
        objective: makes the losses `L_i`.
        x: the batch, `[B, ...]`; a staged cascade takes whatever its model takes.
        log_target: `p_y` as log-probabilities, `[B, ..., C]`.
        scales: multiply the losses that are differentiated, `[L]`.
        combiner: merges the stages' `∂L_i/∂z` for a shared extractor.
        weight: of each position in every mean, `[B, ...]`; None counts all the same.
        log_belief: the belief that the first stage refines, `[B, ..., C]`; the cascade's prior when None.
        teachers: `p_0 … p_{L−1}` that the stages read and learn from, `[L, B, ..., C]`; when None, each one's output teaches the
            next.
        window: the number of stages that a loss reaches back over in a staged cascade; 1 is SID.
        on_loss: called with a stage's index (from 0) and its mean loss, before it is differentiated.
        on_belief: called after it with the index and the stage's belief, `[B, ..., C]`.
        on_trained: called with a stage's index (from 0) as soon as its gradient is complete and its graph is gone; with L for the
            extractor of a shared cascade, which is last.
    """

    cascade: Cascade
    objective: LocalObjective
    x: Inputs
    log_target: Tensor
    scales: Tensor
    combiner: GradientCombiner
    weight: Tensor | None = None
    log_belief: Tensor | None = None
    teachers: Tensor | None = None
    window: int = 1
    on_loss: Callable[[int, Tensor], None] = do_nothing
    on_belief: Callable[[int, Tensor], None] = do_nothing
    on_trained: Callable[[int], None] = do_nothing

    def first_belief(self, features: Tensor) -> Tensor:
        """Return what the first stage refines, `[B, ..., C]`.

        Raises:
            TargetError: the target is for other positions than the cascade answers at.
        """
        log_belief = self.cascade.prior(features) if self.log_belief is None else self.log_belief
        check_positions(self.log_target, log_belief.shape[:-1])
        return log_belief

    def scaled(self, gradient: Tensor, scale: Tensor) -> Tensor:
        """Return `scale · ∂(mean loss)/∂logits` from the gradient of each position's loss, `[B, ..., C]`."""
        if self.weight is None:
            return scale / self.log_target[..., 0].numel() * gradient
        unmasked = gradient.masked_fill((self.weight == 0).unsqueeze(-1), 0.0)
        return scale * share(self.weight).unsqueeze(-1) * unmasked


def local_pass(step: Step) -> StepOutput:
    """Fill `.grad` of every parameter in one pass through the cascade.

    Raises:
        TargetError: the target is for other positions than the cascade answers at.
        LocalityError: a tensor from before a cut is used behind it, past the cut.
    """
    stages, cascade = _Stages(step), step.cascade
    if not isinstance(cascade, SharedCascade):
        cascade.run(step.x, stages.end)
        stages.finish()
    else:
        z = cascade.features(step.x)
        cascade.run_stages(stages.share(z), stages.end)
        if z.requires_grad:
            z.backward(step.combiner.result())  # type: ignore[no-untyped-call]
        step.on_trained(cascade.depth)
    return StepOutput(torch.stack(stages.losses), stages.log_belief)


@dataclass(frozen=True)
class _Piece:
    """The graph of one stage: from the leaves it began with to the tensors it handed on."""

    stage: int
    leaves: list[Tensor]
    outputs: list[Tensor]


class _Stages:
    """The stages of one step; `end` is called where each has run."""

    log_belief: Tensor
    """The newest."""

    def __init__(self, step: Step) -> None:
        self.step, self.depth = step, step.cascade.depth
        self.alphas = step.objective.alphas(self.depth)
        self.end_to_end = step.window >= self.depth > 1
        self.losses: list[Tensor] = []
        self.waiting: list[tuple[Tensor, Tensor]] = []  # end to end: logits and their gradients
        self.pieces: deque[_Piece] = deque()  # the stages that a later loss will reach, oldest first
        self.leaves: list[Tensor] = []  # what the stage that is running began with
        self.z: Tensor | None = None  # the leaf that stands for a shared extractor's features

    def share(self, z: Tensor) -> Tensor:
        """Return a leaf for the features that all stages read."""
        self.z = z.detach().requires_grad_(z.requires_grad)
        self.leaves = [self.z]
        return self.z

    def end(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Let a stage answer, differentiate its loss as far as it reaches, and return what the next stage begins with."""
        step = self.step
        if stage == 0:
            self.log_belief = step.first_belief(tensors[0])
        log_previous = self.log_belief if step.teachers is None else step.teachers[stage]
        tensors, logits = step.cascade.answer(stage, tensors, log_previous)
        self.log_belief = to_log_belief(logits.detach())
        losses, gradient = step.objective.loss_and_gradient(self.log_belief, step.log_target, log_previous, self.alphas[stage])
        self.losses.append(mean(losses, step.weight))
        step.on_loss(stage, self.losses[-1])
        step.on_belief(stage, self.log_belief)
        if logits.requires_grad:  # not so for a frozen stage on a frozen extractor
            self._differentiate(stage, logits, step.scaled(gradient, step.scales[stage]).to(logits.dtype))
        del logits  # and with them the graph of the head
        if not self.end_to_end:
            tensors = self._cut(stage, tensors)
        waits = self.end_to_end or step.window > 1  # then a stage that writes to its input would spoil a backward pass
        return [tensor.clone() for tensor in tensors] if waits and stage in step.cascade.overwritten else tensors

    def finish(self) -> None:
        """Differentiate what has waited for the last stage."""
        if self.waiting:
            logits, gradients = zip(*self.waiting, strict=True)
            torch.autograd.backward(logits, gradients)
        if self.end_to_end:
            for stage in range(self.depth):
                self.step.on_trained(stage)

    def _cut(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Return the tensors without their graph; forget the graphs that no later loss reaches."""
        self.pieces.append(_Piece(stage, self.leaves, tensors))
        while self.pieces and stage >= self._last_loss(self.pieces[0].stage):
            self.step.on_trained(self.pieces.popleft().stage)
        wanted = self.step.window > 1
        self.leaves = [each if each is self.z else each.detach().requires_grad_(wanted and each.requires_grad) for each in tensors]
        return self.leaves

    def _last_loss(self, stage: int) -> int:
        """Return the last stage whose loss reaches `stage`."""
        return min(stage + self.step.window, self.depth) - 1

    def _differentiate(self, stage: int, logits: Tensor, gradient: Tensor) -> None:
        if self.end_to_end:
            self.waiting.append((logits, gradient))
            return
        try:
            torch.autograd.backward([logits], [gradient], retain_graph=stage < self._last_loss(stage))
            gradients = _take(self.leaves)
            if gradients and self.leaves[0] is self.z:
                self.step.combiner.add(gradients[0])
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
