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

import torch
from torch import Tensor, nn

from torchsid.core.beliefs import mean
from torchsid.core.combine import GradientCombiner
from torchsid.core.learner import StepOutput
from torchsid.core.mlp_head import MLPHead
from torchsid.core.shared import SharedCascade, Stage
from torchsid.core.step import Step
from torchsid.errors import ScheduleError

BLOCK = 8  # stages differentiated together: few enough for their activations to stay in the processor's cache


def batched(step: Step) -> StepOutput:
    """Fill `.grad` of every parameter with the stages stacked; extractor and stages run once.

    Raises:
        ScheduleError: the stages are not the paper's heads of one form, each with parameters of its own.
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
    wide = (-1, *[1] * prior.dim())  # one number a stage, beside beliefs
    alphas = torch.tensor(step.objective.alphas(len(heads)), dtype=prior.dtype, device=z.device).view(wide)[..., 0]
    block = _Block(heads[0], z, prior)
    losses: list[Tensor] = []
    for start in range(0, len(heads), BLOCK):
        stages = slice(start, start + BLOCK)
        log_beliefs = block.refine(heads[stages])  # [K+1, B, ..., C]
        loss, delta = step.objective.loss_and_gradient(log_beliefs[1:], step.log_target, log_beliefs[:-1], alphas[stages])
        for stage, each in enumerate(loss, start):
            losses.append(mean(each, step.weight))
            step.on_loss(stage, losses[-1])
            step.on_belief(stage, log_beliefs[stage - start + 1])
        block.differentiate(heads[stages], step.scaled(delta, step.scales[stages].view(wide)), step.combiner if wanted else None)
    return StepOutput(torch.stack(losses), block.log_belief)


class _Block:
    """What K consecutive heads keep between their forward pass and their gradient; used again by the next K.

    Positions of the features count as samples, N in all; the M beliefs of one vector of features as one row.
    """

    def __init__(self, head: MLPHead, z: Tensor, log_belief: Tensor) -> None:
        outputs = head.output.out_features
        self.z_shape = z.shape
        self.log_belief = log_belief  # the newest
        self.inputs = z.new_empty(BLOCK, z[..., 0].numel(), head.hidden.in_features)  # u = [p, z]
        self.inputs[..., outputs:] = z.flatten(0, -2)
        self.beliefs = self.inputs[..., :outputs]
        self.hidden = z.new_empty(*self.inputs.shape[:2], head.hidden.out_features)  # h
        self.gamma = torch.empty_like(self.hidden)

    def refine(self, heads: list[MLPHead]) -> Tensor:
        """Run the heads on from the newest belief; return it and theirs, `[K+1, B, ..., C]`."""
        log_beliefs = self.log_belief.new_empty(len(heads) + 1, *self.log_belief.shape)
        log_beliefs[0] = self.log_belief
        for i, head in enumerate(heads):
            log_previous, h = log_beliefs[i], self.hidden[i]
            self.beliefs[i] = log_previous.exp().view(self.beliefs[i].shape)
            torch.addmm(head.hidden.bias, self.inputs[i], head.hidden.weight.T, out=h).relu_()
            logits = torch.addmm(head.output.bias, h, head.output.weight.T).view(log_previous.shape)
            torch.log_softmax(logits.add_(log_previous) if head.kind == "residual" else logits, -1, out=log_beliefs[i + 1])
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
                combiner.add((g @ head.hidden.weight[:, head.output.out_features :]).view(self.z_shape))
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
    """Return the heads of the stages, or raise when the closed form is not theirs."""
    problems, owners, forms = [], dict[int, int](), []
    for i, stage in enumerate(cascade.stages, 1):
        if problem := _unfit(stage):
            problems.append(f"stage {i} {problem}")
        named = list(stage.named_parameters())
        forms.append((getattr(stage.head, "kind", None), [(name, each.shape, each.requires_grad) for name, each in named]))
        if forms[-1] != forms[0]:
            problems.append(f"stage {i} differs in structure from stage 1")
        for name, parameter in named:
            if (owner := owners.setdefault(id(parameter), i)) != i:
                problems.append(f"stages {owner} and {i} share the parameter {name}")
    if problems:
        raise ScheduleError(
            f"schedule = 'batched' stacks the paper's heads, but {'; '.join(problems)}: set it to 'streaming', which takes any"
        )
    return [stage.head for stage in cascade.stages]  # type: ignore[misc]


def _unfit(stage: nn.Module) -> str:
    """Return why the closed form is not a stage's; empty when it is."""
    if type(stage) is not Stage:
        return f"is a {type(stage).__name__}, which may make features of its own"
    head = stage.head
    if type(head) is not MLPHead or not type(head.hidden) is type(head.output) is nn.Linear:
        return f"has a {type(head).__name__}, no MLPHead of two linear layers"
    if head.hidden.weight.dtype not in (torch.float32, torch.float64):
        return f"computes in {head.hidden.weight.dtype}"
    if any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in stage.modules()):
        return "has hooks, which would not be called"
    return ""
