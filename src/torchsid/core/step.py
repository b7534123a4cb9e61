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
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from torchsid.core.beliefs import check_positions, to_log_belief
from torchsid.core.calling import Inputs
from torchsid.core.cascade import Cascade, do_nothing
from torchsid.core.combine import GradientCombiner
from torchsid.core.learner import StepOutput
from torchsid.core.objective import LocalObjective
from torchsid.core.shared import SharedCascade
from torchsid.core.side_effects import without_side_effects
from torchsid.errors import LocalityError


@dataclass(frozen=True, kw_only=True)
class Step:
    """One batch through one cascade. What is called is told the index of a stage, from 0."""

    cascade: Cascade  # L stages; its parameters get their `.grad`
    objective: LocalObjective  # makes the losses `L_i`
    x: Inputs  # the batch, `[B, ...]`; a staged cascade takes whatever its model takes
    log_target: Tensor  # `p_y` as log-probabilities, `[B, ..., C]`
    scales: Tensor  # multiply the losses that are differentiated, `[L]`
    combiner: GradientCombiner  # merges the stages' `∂L_i/∂z` for a shared extractor
    share: Tensor | None = None  # of each position in every mean, `[B, ...]`, 1 in all; None where all count the same
    log_belief: Tensor | None = None  # that the first stage refines, `[B, ..., C]`; the cascade's prior when None
    teachers: Tensor | None = None  # `p_0 … p_{L−1}`, `[L, B, ..., C]`; when None, each stage's output teaches the next
    window: int = 1  # stages that a loss reaches back over in a staged cascade; 1 is SID
    on_loss: Callable[[int, Tensor], None] = do_nothing  # the mean loss of a stage, before it is differentiated
    on_belief: Callable[[int, Tensor], None] = do_nothing  # after it the stage's belief, `[B, ..., C]`
    on_trained: Callable[[int], None] = do_nothing  # its gradient is complete, its graph gone; L: a shared extractor, which is last

    def first_belief(self, features: Tensor) -> Tensor:
        """Return what the first stage refines, `[B, ..., C]`; the target must be for the same positions."""
        log_belief = self.cascade.prior(features) if self.log_belief is None else self.log_belief
        check_positions(self.log_target, log_belief.shape[:-1])
        return log_belief

    def mean(self, losses: Tensor) -> Tensor:
        """Return the mean of losses `[..., B, ...]` over the positions, whatever a loss is where the share is 0."""
        positions = tuple(range(1 - self.log_target.dim(), 0))
        if self.share is None:
            return losses.mean(positions)
        return (losses.masked_fill(self.share == 0, 0.0) * self.share).sum(positions)

    def factors(self) -> Tensor:
        """Return what each position counts in a stage's gradient, scale times share, `[L, B, ..., 1]` or `[L, 1, ..., 1]`."""
        scales = self.scales.view(-1, *[1] * self.log_target.dim())
        if self.share is None:
            return scales * (self.log_target.shape[-1] / self.log_target.numel())
        return scales * self.share.unsqueeze(-1)


def two_phase(step: Step) -> StepOutput:
    """Fill `.grad` of every parameter by the paper's two phases (arXiv 2510.03273, algorithm 1).

        Phase 1, no gradients:  z = c(x);  p_i = f_i(z, p_{i−1});  cache p_0 … p_{L−1}
        Phase 2, gradients:     z = c(x);  p_i = f_i(z, cached p_{i−1});  L_i = α D(p_i, p_y) + (1−α) D(p_i, cached p_{i−1})
                                module i gets ∇L_i, the extractor Σ_i ∇L_i

    In phase 2 no module needs another's output, which is what lets the modules run in parallel. Phase 1 leaves no trace: phase 2
    draws the same dropout masks, and running statistics count each batch once. So the gradients are those of `local_pass`.
    """
    with torch.no_grad(), without_side_effects(step.cascade):
        teachers = step.cascade.log_beliefs(step.x, step.log_belief)[:-1]
    torch.clear_autocast_cache()  # weights cast in phase 1 carry no graph
    return local_pass(replace(step, teachers=teachers))


def local_pass(step: Step) -> StepOutput:
    """Fill `.grad` of every parameter in one pass through the cascade: the schedule `streaming`.

    The paper's teacher pass is not needed: the gradients are those of `two_phase`, nothing is computed twice, and bytes kept for
    backward do not grow with depth. The extractor draws one dropout mask, and BatchNorm counts the batch once.

    Raises:
        TargetError: the target is for other positions than the cascade answers at.
        LocalityError: a tensor from before a cut is used behind it, past the cut.
    """
    depth = step.cascade.depth
    stages = _EndToEnd(step) if 1 < step.window >= depth else _Stages(step)
    if isinstance(step.cascade, SharedCascade):
        z = step.cascade.features(step.x)
        stages.z = z.detach().requires_grad_(z.requires_grad)
        step.cascade.run_stages(stages.z, stages.end)
        if z.requires_grad:
            z.backward(step.combiner.result())  # type: ignore[no-untyped-call]
        step.on_trained(depth)
    else:
        step.cascade.run(step.x, stages.end)
    return StepOutput(torch.stack(stages.losses), stages.log_belief)


class _Stages:
    """The stages of one step of SID; `end` is called where each has run. A graph is freed after the last loss that reaches it."""

    log_belief: Tensor  # the newest

    def __init__(self, step: Step) -> None:
        self.step = step
        self.alphas = step.objective.step_alphas(step.cascade.depth)
        self.factors = step.factors().unbind()
        self.losses: list[Tensor] = []
        self.z: Tensor | None = None  # the leaf that stands for a shared extractor's features
        self.leaves: list[Tensor] = []  # what the stage that is running began with, where a loss may go on through it
        # The stages that a later loss will reach, oldest first: index, the leaves that each began with, the tensors it handed on.
        self.pieces: deque[tuple[int, list[Tensor], list[Tensor]]] = deque()

    def end(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Let a stage answer, differentiate its loss as far as it reaches, and return what the next stage begins with."""
        step = self.step
        if stage == 0:
            self.log_belief = step.first_belief(tensors[0])
        log_previous = self.log_belief if step.teachers is None else step.teachers[stage]
        tensors, logits = step.cascade.answer(stage, tensors, log_previous)
        self.log_belief = log_belief = to_log_belief(logits.detach()).to(step.log_target)  # a trunk may be of several precisions
        losses, gradient = step.objective.loss_and_gradient(log_belief, step.log_target, log_previous, self.alphas[stage])
        self.losses.append(loss := step.mean(losses))
        step.on_loss(stage, loss)
        step.on_belief(stage, log_belief)
        if logits.requires_grad:  # not so for a frozen stage on a frozen extractor
            try:
                self.differentiate(stage, logits, gradient.mul_(self.factors[stage]).to(logits.dtype))
            except RuntimeError as error:
                raise _explained(error, stage) from None
        del logits  # and with them the graph of the head
        return self.go_on(stage, tensors)

    def differentiate(self, stage: int, logits: Tensor, gradient: Tensor) -> None:
        """Carry the loss back piece by piece, as far as it reaches, and hand a shared extractor's combiner its gradient."""
        torch.autograd.backward([logits], [gradient], retain_graph=stage < self._last_loss(stage))
        gradients = _take(self.leaves)
        for reached, leaves, outputs in reversed(self.pieces):
            if not gradients:
                break
            ends = [outputs[i] for i in gradients]
            torch.autograd.backward(ends, list(gradients.values()), retain_graph=stage < self._last_loss(reached))
            gradients = _take(leaves)
        if self.z is not None and self.z.grad is not None:
            self.step.combiner.add(self.z.grad)
            self.z.grad = None

    def go_on(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Keep the stage's graph until no later loss reaches it; return what the next one begins with, the tensors without it."""
        self.pieces.append((stage, self.leaves, tensors))
        while self.pieces and stage >= self._last_loss(self.pieces[0][0]):
            self.step.on_trained(self.pieces.popleft()[0])
        if self.step.window == 1:
            return [tensor if tensor is self.z else tensor.detach() for tensor in tensors]
        self.leaves = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in tensors]
        return self.copied(stage, self.leaves)

    def _last_loss(self, stage: int) -> int:
        """Return the last stage whose loss reaches `stage`."""
        return min(stage + self.step.window, self.step.cascade.depth) - 1

    def copied(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Return copies where the next stage writes to what it reads, which would spoil a backward pass that is still to come."""
        return [tensor.clone() for tensor in tensors] if stage in self.step.cascade.overwritten else tensors


class _EndToEnd(_Stages):
    """Every loss reaches the input: nothing is cut, and one backward pass at the end serves all."""

    def __init__(self, step: Step) -> None:
        super().__init__(step)
        self.waiting: list[tuple[Tensor, Tensor]] = []  # logits and their gradients

    def differentiate(self, stage: int, logits: Tensor, gradient: Tensor) -> None:
        """Wait for the other stages."""
        self.waiting.append((logits, gradient))

    def go_on(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Return the tensors, graph and all; behind the last stage, differentiate all losses at once."""
        if stage + 1 < self.step.cascade.depth:
            return self.copied(stage, tensors)
        if self.waiting:
            logits, gradients = zip(*self.waiting, strict=True)
            torch.autograd.backward(logits, gradients)
        for trained in range(stage + 1):
            self.step.on_trained(trained)
        return tensors


def _take(leaves: list[Tensor]) -> dict[int, Tensor]:
    """Return the gradients that arrived at the leaves, by position, and clear them."""
    gradients = {i: leaf.grad for i, leaf in enumerate(leaves) if leaf.grad is not None}
    for leaf in leaves:
        leaf.grad = None
    return gradients


def _explained(error: RuntimeError, stage: int) -> Exception:
    """Return what an error of a backward pass means, if it is about a graph that is gone."""
    if "backward through the graph a second time" not in str(error):
        return error
    what = f"the loss of stage {stage + 1} reaches back past its cut, into a stage that is done"
    why = "from before the cut is used behind it (a long skip connection, or something that the model keeps between calls)"
    return LocalityError(f"{what}: a tensor {why}; cut elsewhere, or use by='graph', which carries such a tensor along")
