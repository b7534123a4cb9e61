"""Differentiate stage by stage: what the `two_phase` and the `streaming` schedule share."""

import torch
from torch import Tensor

from torchsid.core.beliefs import to_log_belief
from torchsid.core.cascade import Cascade
from torchsid.core.learner import StepOutput
from torchsid.core.schedules.step import Step


def local_pass(step: Step[Cascade], z: Tensor, *, teachers: Tensor | None = None) -> StepOutput:
    """Give stage i its `∇L_i` and free its graph before stage i+1 runs; then give the extractor the combination.

    Features enter a stage through a fresh leaf and the previous belief as a constant, so no gradient crosses to another stage.

    Args:
        step: cascade, objective, target.
        z: the extractor's output, with its graph.
        teachers: `p_0 … p_{L−1}`, `[L, B, C]`; when None, each stage's output teaches the next.
    """
    cascade, objective, combiner = step.cascade, step.objective, step.combiner
    shared = features = z.detach()
    log_belief = cascade.prior(z) if step.log_belief is None else step.log_belief
    losses = []
    for i, (stage, alpha) in enumerate(zip(cascade.stages, objective.alphas(cascade.depth), strict=True)):
        log_previous = log_belief if teachers is None else teachers[i]
        reads_z = z.requires_grad and features is shared
        leaf = features.detach().requires_grad_(reads_z)

        handed_on, logits = stage(leaf, log_previous)
        log_belief = to_log_belief(logits.detach())
        loss, gradient = step.judge(i, log_belief, log_previous, alpha)
        if logits.requires_grad:  # not so for a frozen stage on a frozen extractor
            logits.backward(gradient.to(logits.dtype))
        if reads_z and leaf.grad is not None:
            combiner.add(leaf.grad)

        if handed_on is not leaf:  # the stage made features of its own: the next one reads those
            features = handed_on.detach()
        losses.append(loss)
        step.on_trained(i)
    if z.requires_grad:
        z.backward(combiner.result())  # type: ignore[no-untyped-call]
    step.on_trained(cascade.depth)
    return StepOutput(torch.stack(losses), log_belief)
