"""One step of SID: every stage is differentiated, and its graph freed, before the next one runs.

    for i = 1 … L:   p_i = softmax(f_i(sg(h_{i−1}), p_{i−1}))
                     L_i = α D(p_i, p_y) + (1−α) D(p_i, sg(p_{i−1}));   stage i gets ∇L_i     (arXiv 2510.03273, algorithm 1)

Stage i's detached answer is the teacher of stage i+1, so nothing is computed twice and one stage's graph exists at a time. Two
variations: a shared extractor gets a combination of all `∂L_i/∂z`, last; and in a staged cascade a loss may reach back over a
*window* of w stages. With 1 < w < L the graphs of the last w stages are kept, and loss i is carried back through stages i … i−w+1:
losses of one window travel different distances, so each takes a pass of its own. With w = L no cut is left, and one pass does.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from torchsid.core.beliefs import check_positions, to_log_belief
from torchsid.core.calling import Inputs
from torchsid.core.candidates import Candidates
from torchsid.core.cascade import Cascade, do_nothing
from torchsid.core.combine import GradientCombiner
from torchsid.core.lazy_logits import LazyLogits, Learnt, learn
from torchsid.core.learner import StepOutput
from torchsid.core.objective import LocalObjective
from torchsid.core.shared import SharedCascade
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import LazyAnswer, StagedCascade
from torchsid.errors import LocalityError

Belief = Tensor | LazyLogits


@dataclass(frozen=True, kw_only=True)
class Step:
    """One batch through one cascade. What is called is told the index of a stage, from 0."""

    cascade: Cascade  # L stages; its parameters get their `.grad`
    objective: LocalObjective  # makes the losses `L_i`
    x: Inputs  # the batch, `[B, ...]`; a staged cascade takes whatever its model takes
    # `p_y` as log-probabilities, `[B, ..., C]`; or classes, int64 `[B, ...]`, and all logits wait: see `core/lazy_logits.py`.
    target: Tensor
    scales: Tensor  # multiply the losses that are differentiated, `[L]`
    combiner: GradientCombiner  # merges the stages' `∂L_i/∂z` for a shared extractor
    share: Tensor | None = None  # of each position in every mean, `[B, ...]`, 1 in all; None where all count the same
    belief: Belief | None = None  # that the first stage refines, `[B, ..., C]`; the cascade's prior when None
    targets: Tensor | None = None  # in the place of `target`, one a stage, `[L, B, ..., C]`
    teachers: Tensor | None = None  # `p_0 … p_{L−1}`, `[L, B, ..., C]`; when None, each stage's output teaches the next
    others: Sequence[int] = ()  # how many a stage tells apart beside the batch's outcomes, where logits wait, `[L]`; 0: all
    window: int = 1  # stages that a loss reaches back over in a staged cascade; 1 is SID
    on_loss: Callable[[int, Tensor, Tensor], None] = do_nothing  # a stage's mean loss and answers `[B, ...]`, still to be learnt
    on_belief: Callable[[int, Any], None] = do_nothing  # after it the stage's belief, `[B, ..., C]`, or what will be its logits
    on_trained: Callable[[int], None] = do_nothing  # its gradient is complete, its graph gone; L: a shared extractor, which is last

    @property
    def lazy(self) -> bool:
        """Whether no logits are made: the target is classes."""
        return not self.target.is_floating_point()

    @property
    def positions(self) -> torch.Size:
        """Where the beliefs are, `[B, ...]`, as the target says."""
        return self.target.shape if self.lazy else self.target.shape[:-1]

    def first_belief(self, features: Tensor) -> Belief:
        """Return what the first stage refines, `[B, ..., C]`; the target must be for the same positions."""
        cascade, belief = self.cascade, self.belief
        if belief is None:
            belief = cascade.lazy_prior(features) if self.lazy and isinstance(cascade, StagedCascade) else cascade.prior(features)
        where = belief.positions if isinstance(belief, LazyLogits) else belief.shape[:-1]
        check_positions(self.positions, where, cascade.num_classes)
        return belief

    def mean(self, losses: Tensor) -> Tensor:
        """Return the mean of losses `[..., B, ...]` over the positions, whatever a loss is where the share is 0."""
        positions = tuple(range(-len(self.positions), 0))
        if self.share is None:
            return losses.mean(positions)
        return (losses.masked_fill(self.share == 0, 0.0) * self.share).sum(positions)

    def factors(self) -> Tensor:
        """Return what each position counts in a stage's gradient, scale times share, `[L, B, ...]` or `[L, 1, ...]`."""
        scales = self.scales.view(-1, *[1] * len(self.positions))
        return scales * (1 / self.positions.numel() if self.share is None else self.share)


def two_phase(step: Step) -> StepOutput:
    """Fill `.grad` of every parameter by the paper's two phases (arXiv 2510.03273, algorithm 1).

        Phase 1, no gradients:  z = c(x);  p_i = f_i(z, p_{i−1});  cache p_0 … p_{L−1}
        Phase 2, gradients:     z = c(x);  p_i = f_i(z, cached p_{i−1});  L_i = α D(p_i, p_y) + (1−α) D(p_i, cached p_{i−1})
                                module i gets ∇L_i, the extractor Σ_i ∇L_i

    In phase 2 no module needs another's output, which is what lets the modules run in parallel. Phase 1 leaves no trace: phase 2
    draws the same dropout masks, and running statistics count each batch once. So the gradients are those of `local_pass`.
    """
    with torch.no_grad(), without_side_effects(step.cascade):
        assert not isinstance(step.belief, LazyLogits)  # of a staged cascade alone
        teachers = step.cascade.log_beliefs(step.x, step.belief)[:-1]
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
    cascade, depth = step.cascade, step.cascade.depth
    stages = _EndToEnd(step) if 1 < step.window >= depth else _Stages(step)
    if isinstance(cascade, SharedCascade):
        z = cascade.features(step.x)
        stages.z = z.detach().requires_grad_(z.requires_grad)
        cascade.run_stages(stages.z, stages.end)
        if z.requires_grad:
            z.backward(step.combiner.result())  # type: ignore[no-untyped-call]
        step.on_trained(depth)
    elif step.lazy:
        assert isinstance(cascade, StagedCascade)
        with cascade.lazily() as stages.answer_lazily:
            cascade.run(step.x, stages.end)
    else:
        cascade.run(step.x, stages.end)
    return StepOutput(torch.stack(stages.losses), stages.belief, torch.stack(stages.answers))


class _Stages:
    """The stages of one step of SID; `end` is called where each has run. A graph is freed after the last loss that reaches it."""

    belief: Belief  # the newest, without a graph
    answer_lazily: LazyAnswer  # in a lazy step

    def __init__(self, step: Step) -> None:
        self.step = step
        self.alphas = step.objective.step_alphas(step.cascade.depth)
        self.factors = step.factors().unbind()
        self.losses: list[Tensor] = []
        self.answers: list[Tensor] = []
        self.z: Tensor | None = None  # the leaf that stands for a shared extractor's features
        self.leaves: list[Tensor] = []  # what the stage that is running began with, where a loss may go on through it
        # The stages that a later loss will reach, oldest first: index, the leaves that each began with, the tensors it handed on.
        self.pieces: deque[tuple[int, list[Tensor], list[Tensor]]] = deque()

    def end(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Let a stage answer, differentiate its loss as far as it reaches, and return what the next stage begins with."""
        step = self.step
        if stage == 0:
            self.belief = step.first_belief(tensors[0])
        tensors, learnt = self.lazily(stage, tensors) if step.lazy else self.at_once(stage, tensors)
        self.losses.append(loss := step.mean(learnt.losses))
        self.answers.append(learnt.answers)
        step.on_loss(stage, loss, learnt.answers)
        step.on_belief(stage, self.belief)
        if learnt.gradients:  # not so for a frozen stage on a frozen extractor
            try:
                self.differentiate(stage, learnt.gradients)
            except RuntimeError as error:
                raise explained(error, stage) from None
        del learnt  # and with it the graph of the head
        return self.go_on(stage, tensors)

    def at_once(self, stage: int, tensors: list[Tensor]) -> tuple[list[Tensor], Learnt]:
        """Return what a stage hands on, and what it learns about its logits."""
        step, previous = self.step, self.belief if self.step.teachers is None else self.step.teachers[stage]
        assert isinstance(previous, Tensor)
        tensors, logits = step.cascade.answer(stage, tensors, previous)
        self.belief = log_belief = to_log_belief(logits.detach()).to(step.target)  # a trunk may be of several precisions
        target = step.target if step.targets is None else step.targets[stage]
        losses, gradient = step.objective.loss_and_gradient(log_belief, target, previous, self.alphas[stage])
        gradient = gradient.mul_(self.factors[stage].unsqueeze(-1)).to(logits.dtype)
        return tensors, Learnt(losses, log_belief.argmax(-1), [(logits, gradient)] if logits.requires_grad else [])

    def lazily(self, stage: int, tensors: list[Tensor]) -> tuple[list[Tensor], Learnt]:
        """Do so without any logits being made."""
        step, previous = self.step, self.belief
        assert isinstance(previous, LazyLogits)
        logits = self.answer_lazily(stage, tensors, previous)
        self.belief = logits.detach()
        if logits.weight.requires_grad and step.on_trained is not do_nothing and self.teaches(stage):
            self.belief = self.belief.clone()  # what it believed before its weights are updated
        how = (step.objective, self.alphas[stage], self.factors[stage])
        others = step.others[stage] if step.others else 0
        if not others:
            return tensors, learn(logits, step.target, previous, *how)
        few = Candidates.draw(step.target, others, step.cascade.num_classes)
        learnt = learn(few.of(logits), few.places, few.of(previous), *how)
        return tensors, learnt._replace(answers=few.outcomes[learnt.answers])

    def teaches(self, stage: int) -> bool:
        """Return whether a later stage learns from the belief of this one."""
        rest = self.alphas[stage + 1 : stage + 2]
        return any(not isinstance(alpha, float) or alpha < 1 for alpha in rest)

    def differentiate(self, stage: int, gradients: list[tuple[Tensor, Tensor]]) -> None:
        """Carry the loss back piece by piece, as far as it reaches, and hand a shared extractor's combiner its gradient.

        The gradients are those of the logits, or of what they are made of, each with its tensor.
        """
        roots, values = zip(*gradients, strict=True)
        torch.autograd.backward(roots, values, retain_graph=stage < self._last_loss(stage))
        found = _take(self.leaves)
        for reached, leaves, outputs in reversed(self.pieces):
            if not found:
                break
            ends = [outputs[i] for i in found]
            torch.autograd.backward(ends, list(found.values()), retain_graph=stage < self._last_loss(reached))
            found = _take(leaves)
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
        self.waiting: list[tuple[Tensor, Tensor]] = []

    def differentiate(self, stage: int, gradients: list[tuple[Tensor, Tensor]]) -> None:
        """Wait for the other stages."""
        self.waiting += gradients

    def go_on(self, stage: int, tensors: list[Tensor]) -> list[Tensor]:
        """Return the tensors, graph and all; behind the last stage, differentiate all losses at once."""
        if stage + 1 < self.step.cascade.depth:
            return self.copied(stage, tensors)
        if self.waiting:
            roots, gradients = zip(*self.waiting, strict=True)
            torch.autograd.backward(roots, gradients)
        for trained in range(stage + 1):
            self.step.on_trained(trained)
        return tensors


def _take(leaves: list[Tensor]) -> dict[int, Tensor]:
    """Return the gradients that arrived at the leaves, by position, and clear them."""
    gradients = {i: leaf.grad for i, leaf in enumerate(leaves) if leaf.grad is not None}
    for leaf in leaves:
        leaf.grad = None
    return gradients


def explained(error: RuntimeError, stage: int) -> Exception:
    """Return what an error of a backward pass means, if it is about a graph that is gone."""
    if "backward through the graph a second time" not in str(error):
        return error
    what = f"the loss of stage {stage + 1} reaches back past its cut, into a stage that is done"
    why = "from before the cut is used behind it (a long skip connection, or something that the model keeps between calls)"
    return LocalityError(f"{what}: a tensor {why}; cut elsewhere, or use by='graph', which carries such a tensor along")
