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

from torchsid.beliefs import to_log_belief
from torchsid.cascade import Cascade
from torchsid.heads import MLPHead
from torchsid.objective import LocalObjective
from torchsid.schedules.accumulate import accumulate
from torchsid.schedules.combine import GradientCombiner
from torchsid.schedules.output import StepOutput

BLOCK = 8  # stages differentiated together: few enough for their activations to stay in the processor's cache


def applies(cascade: Cascade, z: Tensor) -> bool:
    """Return whether the closed form holds: plain MLP heads without hooks, features `[B, F]`, one dtype, no autocast."""
    heads = [stage.head for stage in cascade.stages]
    return (
        z.dim() == 2
        and not torch.is_autocast_enabled(z.device.type)
        and not any(_hooked(module) for module in cascade.stages.modules())
        and all(
            type(head) is MLPHead
            and type(head.hidden) is type(head.output) is nn.Linear
            and head.hidden.weight.dtype == z.dtype in (torch.float32, torch.float64)
            for head in heads
        )
    )


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)


@torch.no_grad()
def differentiate(
    cascade: Cascade,
    objective: LocalObjective,
    z: Tensor,
    log_target: Tensor,
    weights: Tensor,
    combiner: GradientCombiner,
) -> StepOutput:
    """Fill `.grad` of the stages, hand `∂L_i/∂z` to the combiner if `z`, `[B, F]`, requires a gradient."""
    heads = [head for stage in cascade.stages if isinstance(head := stage.head, MLPHead)]
    alphas = torch.tensor(objective.alphas(len(heads)), dtype=log_target.dtype, device=z.device).unsqueeze(-1)  # [L, 1]
    workspace = _Workspace(heads[0], z)
    log_beliefs = log_target.new_empty(len(heads) + 1, *log_target.shape)  # [L+1, B, C]
    log_beliefs[0] = cascade.prior(z)
    losses = []
    for i in range(0, len(heads), BLOCK):
        block = slice(i, i + BLOCK)
        log_p = log_beliefs[i : i + BLOCK + 1]  # [K+1, B, C]
        workspace.refine(heads[block], log_p)
        loss, delta = objective.loss_and_gradient(log_p[1:], log_target, log_p[:-1], alphas[block])
        delta *= (weights[block] / len(z)).view(-1, 1, 1)
        workspace.differentiate(heads[block], delta, combiner if z.requires_grad else None)
        losses.append(loss.mean(1))
    return StepOutput(torch.cat(losses), log_beliefs)


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
            torch.exp(log_previous, out=self.beliefs[i])
            torch.addmm(head.hidden.bias, self.inputs[i], head.hidden.weight.T, out=h).relu_()
            logits = torch.addmm(head.output.bias, h, head.output.weight.T)
            log_beliefs[i + 1] = to_log_belief(logits.add_(log_previous) if head.kind == "residual" else logits)

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
