"""The paper's heads of a shared cascade stacked into one batched problem, their gradient in closed form.

For head i with input `u_i = [p_{i−1}, z]`:

    h_i = relu(u_i W₁ᵀ + b₁)        logits_i = h_i W₂ᵀ + b₂  (+ log p_{i−1})
    δ_i = ∂L_i/∂logits_i            (`LocalObjective.loss_and_gradient`)
    ∂W₂ = δ_iᵀ h_i                  ∂b₂ = Σ δ_i
    γ_i = (δ_i W₂) ⊙ [h_i > 0]
    ∂W₁ = γ_iᵀ u_i                  ∂b₁ = Σ γ_i                 ∂z = γ_i W₁[:, C:]

The teacher pass has already computed every `h_i`, so nothing runs twice and no autograd graph is built. Tested against autograd.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from torchsid.core.combine import GradientCombiner
from torchsid.core.learner import StepOutput
from torchsid.core.shared import MLPHead, SharedCascade, Stage
from torchsid.core.step import Step
from torchsid.errors import ScheduleError

BLOCK = 8  # stages differentiated together: few enough for their activations to stay in the processor's cache


def batched(step: Step) -> StepOutput:
    """Fill `.grad` of every parameter with the stages stacked; extractor and stages run once.

    Stages that are not the paper's heads of one form, each with parameters of its own, are a ScheduleError.
    """
    cascade = step.cascade
    assert isinstance(cascade, SharedCascade)  # SID refuses it for another
    heads = _heads(cascade)
    z = cascade.features(step.x)
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
        output = _differentiate(step, heads, z.detach().to(heads[0].hidden.weight.dtype), wanted=z.requires_grad)
    if z.requires_grad:
        z.backward(step.combiner.result().to(z.dtype))  # type: ignore[no-untyped-call]
    for stage in range(cascade.depth + 1):
        step.on_trained(stage)
    return output


def _differentiate(step: Step, heads: list[MLPHead], z: Tensor, *, wanted: bool) -> StepOutput:
    """Fill `.grad` of the heads; hand `∂L_i/∂z`, `[B, ..., F]`, to the combiner if wanted."""
    prior = step.first_belief(z)
    assert isinstance(prior, Tensor)
    factors = step.factors().unsqueeze(-1)
    alphas = step.objective.alphas_like(len(heads), prior).view(-1, *[1] * (prior.dim() - 1))
    block = _Block(heads[0], z, prior)
    losses: list[Tensor] = []
    answers: list[Tensor] = []
    for start in range(0, len(heads), BLOCK):
        stages = slice(start, start + BLOCK)
        log_beliefs = block.refine(heads[stages])  # [K+1, B, ..., C]
        loss, delta = step.objective.loss_and_gradient(log_beliefs[1:], step.target, log_beliefs[:-1], alphas[stages])
        for stage, mean, log_belief in zip(range(start, len(heads)), step.mean(loss), log_beliefs[1:], strict=False):
            losses.append(mean)
            answers.append(log_belief.argmax(-1))
            step.on_loss(stage, mean, answers[-1])
            step.on_belief(stage, log_belief)
        block.differentiate(heads[stages], delta.mul_(factors[stages]), step.combiner if wanted else None)
    return StepOutput(torch.stack(losses), block.log_belief, torch.stack(answers))


class _Block:
    """What K consecutive heads keep between their forward pass and their gradient; used again by the next K.

    Positions of the features count as samples, N in all; the M beliefs of one vector of features as one row.
    """

    def __init__(self, head: MLPHead, z: Tensor, log_belief: Tensor) -> None:
        outputs, num_classes = head.output.out_features, log_belief.shape[-1]
        self.z_shape = z.shape
        self.log_belief = log_belief  # the newest
        self.inputs = z.new_empty(BLOCK, z[..., 0].numel(), head.hidden.in_features)  # u = [p, z]
        self.inputs[..., outputs:] = z.flatten(0, -2)
        self.beliefs = self.inputs[..., :outputs]
        if outputs > num_classes:
            self.beliefs = self.beliefs.view(*self.beliefs.shape[:-1], -1, num_classes)  # [K, N, M, C]
        self.hidden = z.new_empty(*self.inputs.shape[:2], head.hidden.out_features)  # h
        self.gamma = torch.empty_like(self.hidden)
        self.rows = list(zip(self.inputs, self.beliefs, self.hidden, strict=True))

    def refine(self, heads: list[MLPHead]) -> Tensor:
        """Run the heads on from the newest belief; return it and theirs, `[K+1, B, ..., C]`."""
        log_beliefs = self.log_belief.new_empty(len(heads) + 1, *self.beliefs.shape[1:])
        log_beliefs[0] = self.log_belief.reshape(log_beliefs.shape[1:])
        for head, (u, p, h), (log_previous, log_belief) in zip(heads, self.rows, pairwise(log_beliefs), strict=False):
            p.copy_(log_previous.exp())
            torch.addmm(head.hidden.bias, u, head.hidden.weight.T, out=h).relu_()
            logits = torch.addmm(head.output.bias, h, head.output.weight.T)
            logits = logits if logits.shape == log_previous.shape else logits.view_as(log_previous)
            torch.log_softmax(logits.add_(log_previous) if head.kind == "residual" else logits, -1, out=log_belief)
        log_beliefs = log_beliefs.view(-1, *self.log_belief.shape)
        self.log_belief = log_beliefs[-1]
        return log_beliefs

    def differentiate(self, heads: list[MLPHead], delta: Tensor, combiner: GradientCombiner | None) -> None:
        """Fill `.grad` of the heads from `∂L_i/∂logits`, `[K, B, ..., C]`; hand `∂L_i/∂z` to the combiner if there is one."""
        inputs, hidden, gamma = (buffer[: len(heads)] for buffer in (self.inputs, self.hidden, self.gamma))
        delta = delta.view(len(heads), hidden.shape[1], -1)
        for head, d, g in zip(heads, delta, gamma, strict=True):
            torch.mm(d, head.output.weight, out=g)
        torch.ops.aten.threshold_backward.grad_input(gamma, hidden, 0, grad_input=gamma)  # ⊙ [h > 0], in place
        if combiner is not None:
            for head, g in zip(heads, gamma, strict=True):
                of_z = g @ head.hidden.weight[:, head.output.out_features :]
                combiner.add(of_z.view(self.z_shape) if len(self.z_shape) > 2 else of_z)
        _accumulate([head.output.weight for head in heads], delta.mT @ hidden)
        _accumulate([head.output.bias for head in heads], delta.sum(1))
        _accumulate([head.hidden.weight for head in heads], gamma.mT @ inputs)
        _accumulate([head.hidden.bias for head in heads], gamma.sum(1))


def _accumulate(parameters: Sequence[Tensor], gradients: Tensor) -> None:
    """Add row i of `gradients`, `[K, ...]`, to `.grad` of parameter i; a `.grad` of None becomes a view of the row."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.requires_grad:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


def _heads(cascade: SharedCascade) -> list[MLPHead]:
    """Return the heads of the stages; raise when the closed form is not theirs."""
    heads: list[MLPHead] = []
    problems: list[str] = []
    owners: dict[int, int] = {}
    forms = set()
    for i, stage in enumerate(cascade.stages, 1):
        if not _fits(stage):
            problems.append(f"stage {i} is no plain stage with an MLPHead of two linear layers, in single precision, without hooks")
            continue
        head: MLPHead = stage.head  # type: ignore[assignment]
        tensors = (head.hidden.weight, head.hidden.bias, head.output.weight, head.output.bias)
        forms.add((head.kind, *((each.shape, each.requires_grad) for each in tensors)))
        if len(forms) > 1:
            problems.append(f"stage {i} differs in structure from those before it")
        if shared := {owners.setdefault(id(each), i) for each in tensors} - {i}:
            problems.append(f"stages {min(shared)} and {i} share parameters")
        heads.append(head)
    if problems:
        raise ScheduleError(f"schedule = 'batched' stacks the paper's heads, but {'; '.join(problems)}: use 'streaming'")
    return heads


def _fits(stage: nn.Module) -> bool:
    """Return whether the closed form is a stage's: what it computes, in float32 or float64, and nothing beside it."""
    if type(stage) is not Stage or type(stage.head) is not MLPHead:
        return False
    hidden, output = stage.head.hidden, stage.head.output
    parts = (stage, stage.head, hidden, output)
    hooks = any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in parts)
    return type(hidden) is type(output) is nn.Linear and hidden.weight.dtype in (torch.float32, torch.float64) and not hooks
