"""The gradient of a stack of MLP heads, in closed form.

For head i with input `u_i = [p_{i−1}, z]`:

    h_i = relu(u_i W₁ᵀ + b₁)        logits_i = h_i W₂ᵀ + b₂  (+ log p_{i−1})
    δ_i = ∂L_i/∂logits_i            (`LocalObjective.loss_and_gradient`)
    ∂W₂ = δ_iᵀ h_i                  ∂b₂ = Σ_B δ_i
    γ_i = (δ_i W₂) ⊙ [h_i > 0]
    ∂W₁ = γ_iᵀ u_i                  ∂b₁ = Σ_B γ_i               ∂z = γ_i W₁[:, C:]

The teacher pass has already computed every `h_i`, so nothing runs twice and no autograd graph is built. Tested against autograd.
"""

import torch
from torch import Tensor, nn

from torchsid.core.beliefs import mean, share
from torchsid.core.cascade import Cascade, Stage
from torchsid.core.learner import StepOutput
from torchsid.core.schedules.accumulate import accumulate
from torchsid.core.schedules.combine import GradientCombiner
from torchsid.core.schedules.step import Step
from torchsid.heads import MLPHead

BLOCK = 8  # stages differentiated together: few enough for their activations to stay in the processor's cache


def heads_of(cascade: Cascade) -> list[MLPHead]:
    """Return the heads if all stages are MLP heads of one form, without hooks and with parameters of their own; else none."""
    heads = [stage.head for stage in cascade.stages if type(stage) is Stage and type(stage.head) is MLPHead]
    layers = [(head.kind, head.hidden, head.output) for head in heads]
    if not all(type(hidden) is type(output) is nn.Linear for _, hidden, output in layers):
        return []
    tensors = [(hidden.weight, hidden.bias, output.weight, output.bias) for _, hidden, output in layers]
    owned = {id(tensor) for each in tensors for tensor in each}
    forms = {tuple((tensor.shape, tensor.requires_grad) for tensor in each) for each in tensors}
    kinds = {kind for kind, *_ in layers}
    alike = len(heads) == cascade.depth and len(forms) == len(kinds) == 1 and len(owned) == 4 * len(heads)
    return heads if alike and not _hooked(cascade.stages) else []


def applies(heads: list[MLPHead], z: Tensor) -> bool:
    """Return whether the closed form holds: there are heads, features are `[B, F]` in their precision, no autocast."""
    if not heads or z.dim() != 2 or torch.is_autocast_enabled(z.device.type):
        return False
    return heads[0].hidden.weight.dtype == z.dtype in (torch.float32, torch.float64)


def _hooked(stages: nn.Module) -> bool:
    return any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in stages.modules()
    )


@torch.no_grad()
def differentiate(step: Step[Cascade], heads: list[MLPHead], z: Tensor) -> StepOutput:
    """Fill `.grad` of the heads, hand `∂L_i/∂z` to the combiner if `z`, `[B, F]`, requires a gradient."""
    alphas = torch.tensor(step.objective.alphas(len(heads)), dtype=step.log_target.dtype, device=z.device).unsqueeze(-1)  # [L, 1]
    workspace = _Workspace(heads[0], z)
    log_beliefs = step.log_target.new_empty(len(heads) + 1, *step.log_target.shape)  # [L+1, B, C]
    log_beliefs[0] = step.cascade.prior(z)
    losses = []
    for i in range(0, len(heads), BLOCK):
        block = slice(i, i + BLOCK)
        log_p = log_beliefs[i : i + BLOCK + 1]  # [K+1, B, C]
        workspace.refine(heads[block], log_p)
        loss, delta = step.objective.loss_and_gradient(log_p[1:], step.log_target, log_p[:-1], alphas[block])
        delta *= step.scales[block].view(-1, 1, 1)
        delta *= 1 / len(z) if step.weight is None else share(step.weight).unsqueeze(-1)
        workspace.differentiate(heads[block], delta, step.combiner if z.requires_grad else None)
        for stage, each in enumerate(loss, i):
            losses.append(mean(each, step.weight))
            step.on_loss(stage, losses[-1])
            step.on_belief(stage, log_beliefs[stage + 1])
    return StepOutput(torch.stack(losses), log_beliefs[-1])


class _Workspace:
    """What K consecutive heads keep between their forward pass and their gradient; used again by the next K."""

    def __init__(self, head: MLPHead, z: Tensor) -> None:
        batch, num_classes = len(z), head.output.out_features
        self.inputs = z.new_empty(BLOCK, batch, head.hidden.in_features)  # u = [p, z]
        self.inputs[..., num_classes:] = z
        self.beliefs = self.inputs[..., :num_classes]
        self.hidden = z.new_empty(BLOCK, batch, head.hidden.out_features)  # h
        self.gamma = torch.empty_like(self.hidden)

    def refine(self, heads: list[MLPHead], log_beliefs: Tensor) -> None:
        """Run the heads from belief 0 of `[K+1, B, C]` on and fill in the rest."""
        for i, head in enumerate(heads):
            log_previous, h = log_beliefs[i], self.hidden[i]
            self.beliefs[i] = log_previous.exp()
            torch.addmm(head.hidden.bias, self.inputs[i], head.hidden.weight.T, out=h).relu_()
            logits = torch.addmm(head.output.bias, h, head.output.weight.T)
            torch.log_softmax(logits.add_(log_previous) if head.kind == "residual" else logits, -1, out=log_beliefs[i + 1])

    def differentiate(self, heads: list[MLPHead], delta: Tensor, combiner: GradientCombiner | None) -> None:
        """Fill `.grad` of the heads from `∂L_i/∂logits`, `[K, B, C]`; hand `∂L_i/∂z` to the combiner if there is one."""
        inputs, hidden, gamma = (buffer[: len(heads)] for buffer in (self.inputs, self.hidden, self.gamma))
        for head, d, g in zip(heads, delta, gamma, strict=True):
            torch.mm(d, head.output.weight, out=g)
        torch.ops.aten.threshold_backward.grad_input(gamma, hidden, 0, grad_input=gamma)  # ⊙ [h > 0], in place
        if combiner is not None:
            for head, g in zip(heads, gamma, strict=True):
                combiner.add(g @ head.hidden.weight[:, head.output.out_features :])
        accumulate([head.output.weight for head in heads], delta.mT @ hidden)
        accumulate([head.output.bias for head in heads], delta.sum(1))
        accumulate([head.hidden.weight for head in heads], gamma.mT @ inputs)
        accumulate([head.hidden.bias for head in heads], gamma.sum(1))
