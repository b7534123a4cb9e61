"""The local objective of a stage and how its α varies over the stages.

    L_i = α_i · D(p_i, p_y) + (1 − α_i) · D(p_i, sg(p_{i−1}))                      (arXiv 2510.03273, the objective of module i)

`sg` is the stop-gradient: the previous belief, the stage's teacher, is a constant. A temperature T softens or sharpens it:
`p_{i−1}^{1/T} / Z` takes its place, as in distillation (Hinton et al., arXiv 1503.02531).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from torchsid.core import beliefs
from torchsid.errors import TargetError
from torchsid.settings import Temperature, Weight, out_of_range

Direction = Literal["forward", "reverse"]
Alpha = float | Sequence[float] | str


@dataclass(frozen=True, kw_only=True)
class LocalObjective:
    """`L_i = α·D(p_i, p_y) + (1−α)·D(p_i, p_{i−1})`, the loss that each stage minimises by itself.

    | direction | D(p, q)    | minimiser of L_i                         | target        |
    | --------- | ---------- | ---------------------------------------- | ------------- |
    | forward   | KL(q ‖ p)  | arithmetic: `α p_y + (1−α) p_{i−1}`      | any           |
    | reverse   | KL(p ‖ q)  | geometric: `p_y^α · p_{i−1}^{1−α}` / Z   | full support  |

    With a temperature T other than 1, `p_{i−1}^{1/T} / Z` stands for `p_{i−1}`; Propositions 2 and 4 speak of T = 1 alone.

    Args:
        alpha: weight of the target in [0, 1]: a number, one number a stage, or a schedule over the stages,
            `"linear:FIRST:LAST"`, `"cosine:FIRST:LAST"`, `"step:FIRST:LAST"`, which is LAST at the last stage alone, or
            `"ends:ENDS:BETWEEN"`, which is ENDS at the first stage and the last.
        direction: `"forward"` (the reference code; the default) or `"reverse"` (the theory).
        label_smoothing: ε in [0, 1]; the target becomes `(1−ε)·p_y + ε/C`.
        temperature: T above 0, of the previous belief as a teacher: above 1 it is softer, below 1 sharper.

    Raises:
        ValueError: a setting is out of range; all of them are named.
    """

    alpha: Alpha = 0.5
    direction: Direction = "forward"
    label_smoothing: Weight = 0.0
    temperature: Temperature = 1.0

    def __post_init__(self) -> None:
        problems = out_of_range(self)
        try:
            alphas_of(self.alpha, None)
        except ValueError as error:
            problems.append(str(error))
        if problems:
            raise ValueError("; ".join(problems))

    def alphas(self, depth: int) -> tuple[float, ...]:
        """Return α of each of the `depth` stages."""
        return alphas_of(self.alpha, depth)

    def step_alphas(self, depth: int) -> Sequence[float | Tensor]:
        """Return α of each of the `depth` stages as a step reads them."""
        return self.alphas(depth)

    def alphas_like(self, depth: int, like: Tensor) -> Tensor:
        """Return α of each of the `depth` stages, `[L]`, on the device and in the precision of `like`."""
        return torch.tensor(self.alphas(depth), dtype=like.dtype, device=like.device)

    def of_stages(self, stages: range, depth: int) -> "LocalObjective":
        """Return the objective of some neighbouring stages (from 0) of `depth`, each with the α that it has among all."""
        return replace(self, alpha=self.alphas(depth)[stages.start : stages.stop])

    def teacher(self, log_previous: Tensor) -> Tensor:
        """Return `p_{i−1}^{1/T} / Z` as log-probabilities, `[..., C]`: `p_{i−1}` itself for T = 1."""
        return log_previous if self.temperature == 1.0 else (log_previous / self.temperature).log_softmax(-1)

    def log_target(
        self, target: Tensor, num_classes: int, *, weight: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return the smoothed target `p_y` as log-probabilities `[B, ..., C]`; arguments as of `beliefs.log_target`.

        Raises:
            TargetError: the target is no class or probability row, or `reverse` got one without full support.
            ValueError: the weights are not one a position.
        """
        smoothing = self.label_smoothing
        log_target = beliefs.log_target(target, num_classes, label_smoothing=smoothing, weight=weight, dtype=dtype)
        if self.direction == "reverse" and self.label_smoothing == 0.0 and bool(log_target.isinf().any()):
            raise TargetError(
                "direction='reverse' is infinite for a target that gives a class probability 0 (one-hot, for instance); "
                "set label_smoothing above 0 (0.1 is usual) or use direction='forward'"
            )
        return log_target

    def __call__(self, log_belief: Tensor, log_target: Tensor, log_previous: Tensor, alpha: float | Tensor) -> Tensor:
        """Return `L_i` in nats, `[...]`, for beliefs `[..., C]`.

        Args:
            log_belief: `p_i`, the only argument that carries a gradient.
            log_target: `p_y`.
            log_previous: `p_{i−1}`, a constant.
            alpha: `α_i`, a number or a tensor that broadcasts with `[...]`.
        """
        divergence = beliefs.forward_kl if self.direction == "forward" else beliefs.reverse_kl
        log_teacher = self.teacher(log_previous.detach())
        return alpha * divergence(log_belief, log_target) + (1 - alpha) * divergence(log_belief, log_teacher)

    def minimiser(self, log_target: Tensor, log_previous: Tensor, alpha: float | Tensor) -> Tensor:
        """Return the belief that minimises `L_i`, `[..., C]`: the arithmetic or the geometric mixture (Proposition 1)."""
        if isinstance(alpha, Tensor):
            alpha = alpha.unsqueeze(-1)
        mixture = beliefs.arithmetic_mixture if self.direction == "forward" else beliefs.geometric_mixture
        return mixture(log_target, self.teacher(log_previous), alpha)

    def loss_and_gradient(
        self, log_belief: Tensor, log_target: Tensor, log_previous: Tensor, alpha: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return `L_i`, `[...]`, and `∂L_i/∂logits`, `[..., C]`, in closed form; arguments as for calling the objective.

        * forward, with the mixture `m = α p_y + (1−α) p_{i−1}`:
          `L_i = −Σ m log p_i − α H(p_y) − (1−α) H(p_{i−1})` and the gradient `p_i − m`;
        * reverse, with `s = log p_i − α log p_y − (1−α) log p_{i−1}`:
          `L_i = Σ p_i s` and the gradient `p_i ⊙ (s − L_i)`.

        With T ≠ 1 the tempered belief stands for `p_{i−1}` in both.
        """
        log_previous = self.teacher(log_previous)
        weight, rest = alpha, 1 - alpha
        if isinstance(alpha, Tensor):
            weight, rest = (each.to(log_belief.dtype).unsqueeze(-1) for each in (alpha, 1 - alpha))
        belief = log_belief.exp()
        if self.direction == "forward":
            previous = log_previous.exp()
            mixture = torch.lerp(previous, log_target.exp(), weight)
            cross_entropy = -(mixture * log_belief).sum(-1)
            entropies = alpha * beliefs.entropy(log_target) - (1 - alpha) * (previous * log_previous).sum(-1)
            return cross_entropy - entropies, belief - mixture
        surprise = log_belief - weight * log_target - rest * log_previous
        loss = (belief * surprise).sum(-1)
        return loss, belief * (surprise - loss.unsqueeze(-1))


@dataclass(frozen=True, kw_only=True)
class HeldObjective(LocalObjective):
    """An objective whose α a step reads on the device, so that a step which is replayed goes by what they are by then."""

    held: Tensor
    """α of each stage, `[L]`, float64, of which a number has the digits of a Python float."""

    def __post_init__(self) -> None:
        """Check nothing: the device would have to be waited for."""

    def step_alphas(self, depth: int) -> Sequence[float | Tensor]:
        """Return the held α, a scalar tensor each."""
        return self.held.unbind()

    def alphas_like(self, depth: int, like: Tensor) -> Tensor:
        """Return the held α in the precision of `like`."""
        return self.held.to(like)


def alphas_of(alpha: Alpha, depth: int | None) -> tuple[float, ...]:
    """Return α for each of `depth` stages; with `depth=None` only check the setting.

    Raises:
        ValueError: a value outside [0, 1], an unknown schedule, or a sequence whose length is not the depth.
    """
    if isinstance(alpha, str):
        values = _scheduled(alpha, depth or 2)
    elif isinstance(alpha, Sequence):
        values = tuple(float(value) for value in alpha)
        if depth is not None and len(values) != depth:
            raise ValueError(f"alpha has {len(values)} values for {depth} stages: give one a stage, one number, or a schedule")
    else:
        values = (float(alpha),) * (depth or 1)
    if not all(0.0 <= value <= 1.0 for value in values):
        raise ValueError(f"alpha = {alpha!r}: every value must lie in [0, 1]")
    return values


def _scheduled(text: str, depth: int) -> tuple[float, ...]:
    shapes: dict[str, Callable[[float], float]] = {
        "linear": lambda t: t,
        "cosine": lambda t: (1 - math.cos(math.pi * t)) / 2,
        "step": lambda t: float(t == 1),
        "ends": lambda t: float(0 < t < 1),
    }
    name, *ends = text.split(":")
    try:
        first, last = (float(end) for end in ends)
        shape = shapes[name]
    except (ValueError, KeyError):
        allowed = " or ".join(f"'{each}:ENDS:BETWEEN'" if each == "ends" else f"'{each}:FIRST:LAST'" for each in shapes)
        raise ValueError(f"alpha = {text!r} is no schedule: allowed is {allowed}, such as 'linear:1.0:0.2'") from None
    if depth == 1 and name == "step":
        return (last,)
    return tuple(first + (last - first) * shape(i / max(depth - 1, 1)) for i in range(depth))
