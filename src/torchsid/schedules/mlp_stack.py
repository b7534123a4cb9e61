"""The gradient of a stack of MLP heads, in closed form.

For head i with input `u_i = [p_{i−1}, z]`:

    h_i = relu(u_i W₁ᵀ + b₁)        logits_i = h_i W₂ᵀ + b₂  (+ log p_{i−1})
    δ_i = ∂L_i/∂logits_i            (`LocalObjective.logits_gradient`)
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
    alphas = torch.tensor(objective.alphas(len(heads)), dtype=log_target.dtype, device=z.device)
    losses, log_beliefs = [], [cascade.prior(z).unsqueeze(0)]
    for i in range(0, len(heads), BLOCK):
        block = slice(i, i + BLOCK)
        run = _Block(heads[block], z, log_beliefs[-1][-1])
        for_extractor = combiner if z.requires_grad else None
        losses.append(run.differentiate(objective, log_target, alphas[block].unsqueeze(-1), weights[block], for_extractor))
        log_beliefs.append(run.log_beliefs[1:])
    return StepOutput(torch.cat(losses), torch.cat(log_beliefs))


class _Block:
    """The teacher pass of K consecutive heads, with all that their gradient needs."""

    def __init__(self, heads: list[MLPHead], z: Tensor, log_previous: Tensor) -> None:
        self.heads = heads
        batch, num_classes = log_previous.shape
        self.inputs = z.new_empty(len(heads), batch, num_classes + z.shape[1])  # u, [K, B, C+F]
        self.inputs[..., num_classes:] = z
        self.hidden = z.new_empty(len(heads), batch, heads[0].hidden.out_features)  # h, [K, B, H]
        log_beliefs = [log_previous]
        for head, u, h in zip(heads, self.inputs, self.hidden, strict=True):
            u[:, :num_classes] = log_beliefs[-1].exp()
            torch.addmm(head.hidden.bias, u, head.hidden.weight.T, out=h).relu_()
            logits = torch.addmm(head.output.bias, h, head.output.weight.T)
            log_beliefs.append(to_log_belief(logits.add_(log_beliefs[-1]) if head.kind == "residual" else logits))
        self.log_beliefs = torch.stack(log_beliefs)  # [K+1, B, C]

    def differentiate(
        self, objective: LocalObjective, log_target: Tensor, alphas: Tensor, weights: Tensor, combiner: GradientCombiner | None
    ) -> Tensor:
        """Fill `.grad` of the heads, hand `∂L_i/∂z` to the combiner if there is one; return the mean losses, `[K]`."""
        _, batch, num_classes = self.log_beliefs.shape
        log_p, log_previous = self.log_beliefs[1:], self.log_beliefs[:-1]
        delta = objective.logits_gradient(log_p, log_target, log_previous, alphas) * (weights / batch).view(-1, 1, 1)
        gamma = torch.empty_like(self.hidden)
        for head, d, g in zip(self.heads, delta, gamma, strict=True):
            torch.mm(d, head.output.weight, out=g)
        torch.ops.aten.threshold_backward.grad_input(gamma, self.hidden, 0, grad_input=gamma)  # ⊙ [h > 0], in place
        if combiner is not None:
            for head, g in zip(self.heads, gamma, strict=True):
                combiner.add(g @ head.hidden.weight[:, num_classes:])
        accumulate([head.output.weight for head in self.heads], delta.mT @ self.hidden)
        accumulate([head.output.bias for head in self.heads], delta.sum(1))
        accumulate([head.hidden.weight for head in self.heads], gamma.mT @ self.inputs)
        accumulate([head.hidden.bias for head in self.heads], gamma.sum(1))
        return objective(log_p, log_target, log_previous, alphas).mean(1)
