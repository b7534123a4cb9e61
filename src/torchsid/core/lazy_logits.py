"""Logits that are not computed yet, and what a stage learns from them a few rows at a time: for large vocabularies.

    z = h Wᵀ + b,   p = softmax(z),   m = α p_y + (1−α) p_{i−1}
    L = −Σ m log p − α H(p_y) − (1−α) H(p_{i−1}),   g = ∂L/∂z = p − m,   ∂h = g W,   ∂W = gᵀ h,   ∂b = Σ g

Nothing of the size `[N, V]` is ever made: h, W and the teacher's h and W are held, and of z, g and the teacher's belief the rows of
one chunk. It is the closed form of `LocalObjective.loss_and_gradient`, forward direction, for a target of classes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import register_pytree_node

from torchsid.core.objective import LocalObjective

CHUNK = 2**23
"""The most numbers of a chunk, 32 MiB in single precision; of one row, whatever it has."""


@dataclass(frozen=True)
class LazyLogits:
    """`z = h Wᵀ + b`, `[..., V]`, computed when somebody asks.

    Attributes:
        hidden: h, `[..., D]`.
        weight: W, `[V, D]`.
        bias: b, `[V]`; None for 0.
        version: how often W had been updated when they were detached; −1 where that does not matter.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    version: int = field(default=-1, kw_only=True)

    @classmethod
    def constant(cls, log_belief: Tensor, positions: torch.Size) -> "LazyLogits":
        """Return the same belief `[V]` at all positions, `[..., V]`: a bias alone, D = 0."""
        return cls(log_belief.new_empty(*positions, 0), log_belief.new_empty(len(log_belief), 0), log_belief)

    @property
    def positions(self) -> torch.Size:
        """Where the beliefs are, `[...]`."""
        return self.hidden.shape[:-1]

    @property
    def shape(self) -> torch.Size:
        """What the logits would have, `[..., V]`."""
        return torch.Size((*self.positions, len(self.weight)))

    def __getitem__(self, index: Tensor | slice) -> "LazyLogits":
        """Return those at some positions."""
        return LazyLogits(self.hidden[index], self.weight, self.bias)

    @property
    def parts(self) -> list[Tensor]:
        """h, W and b, if there is one."""
        return [self.hidden, self.weight] if self.bias is None else [self.hidden, self.weight, self.bias]

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the beliefs, at least float32."""
        return torch.promote_types(self.hidden.dtype, torch.float32)

    def detach(self) -> "LazyLogits":
        """Return them without a graph."""
        return replace(LazyLogits(*(each.detach() for each in self.parts)), version=self.weight._version)

    @property
    def outdated(self) -> bool:
        """Whether W has been updated since they were detached."""
        return self.version not in (-1, self.weight._version)

    def clone(self) -> "LazyLogits":
        """Return copies, which keep their values when the weights are updated."""
        return LazyLogits(*(each.clone() for each in self.parts))

    def log_belief(self, temperature: float = 1.0) -> Tensor:
        """Return `log softmax(z / T)`, all `[..., V]` of it."""
        logits = F.linear(*self.as_computed().parts)
        return (logits if temperature == 1.0 else logits.to(self.dtype) / temperature).log_softmax(-1, dtype=self.dtype)

    def chunks(self) -> Iterator["LazyLogits"]:
        """Yield the positions, flattened, a chunk at a time, `[n, V]`."""
        for rows in torch.split(self.hidden.flatten(0, -2), max(1, CHUNK // len(self.weight))):
            yield LazyLogits(rows, self.weight, self.bias)

    def as_computed(self) -> "LazyLogits":
        """Return them without a graph, in the precision in which `nn.Linear` computes, which autocast may say."""
        device = self.hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype
        return LazyLogits(*(each.detach().to(dtype) for each in self.parts))


register_pytree_node(LazyLogits, lambda logits: (logits.parts, None), lambda parts, _: LazyLogits(*parts))


def pays(positions: int, num_classes: int) -> bool:
    """Return whether logits of so many positions had better wait: they are more than one chunk."""
    return positions * num_classes > CHUNK


def travels(positions: int, num_classes: int, width: int) -> bool:
    """Return whether a belief had better go to another worker as the hidden state that it follows from, of so many numbers.

    Where they are not many fewer, it goes as it is, and workers compute what one process does to the bit.
    """
    return 4 * width < num_classes or pays(positions, num_classes)


class Learnt(NamedTuple):
    """What a stage learns about its logits."""

    losses: Tensor  # `L`, `[...]`
    answers: Tensor  # the likeliest outcomes, int64 `[...]`
    gradients: list[tuple[Tensor, Tensor]]  # h, W and b, those that require one, each with that of the losses times the factors


@torch.no_grad()
def learn(
    logits: LazyLogits,
    target: Tensor,
    teacher: LazyLogits | None,
    objective: LocalObjective,
    alpha: float | Tensor,
    factors: Tensor,
) -> Learnt:
    """Return losses, answers and gradients of a stage.

    Args:
        logits: of the stage, with their graph.
        target: classes, int64 `[...]`, each in [0, V).
        teacher: of the stage before; not read where α is the number 1.
        objective: whose direction is forward.
        alpha: a number, or a scalar tensor.
        factors: what multiplies the gradient of each position; broadcasts with `[...]`.
    """
    own, dtype, shape = logits.as_computed(), logits.dtype, logits.positions
    targets, factors = target.reshape(-1, 1), factors.expand(shape).reshape(-1, 1)
    of_weight, of_bias = (
        torch.zeros_like(each, dtype=dtype) if each is not None and each.requires_grad else None
        for each in (logits.weight, logits.bias)
    )
    losses, answers, of_hidden = list[Tensor](), list[Tensor](), list[Tensor]()
    taught = not isinstance(alpha, float) or alpha < 1
    others = teacher.as_computed().chunks() if teacher and taught else repeat(None)
    start = 0
    with torch.autocast(own.hidden.device.type, enabled=False):
        for chunk, other in zip(own.chunks(), others, strict=False):
            rows = slice(start, start := start + len(chunk.hidden))
            log_p = chunk.log_belief()
            answers.append(log_p.argmax(-1))
            log_q = None if other is None else other.log_belief(objective.temperature).to(dtype)
            loss, gradient = _loss_and_gradient(log_p, targets[rows], log_q, alpha, objective.label_smoothing)
            g = gradient.mul_(factors[rows]).to(own.hidden.dtype)
            losses.append(loss)
            of_hidden.append(g @ own.weight)
            if of_weight is not None:
                of_weight.addmm_(g.mT, chunk.hidden) if g.dtype == dtype else of_weight.add_(g.mT @ chunk.hidden)
            if of_bias is not None:
                of_bias.add_(g.sum(0))
            del log_p, log_q, gradient, g  # before the next chunk is made
    made = (torch.cat(of_hidden).view_as(logits.hidden), of_weight, of_bias)
    pairs = [
        (root, gradient.to(root.dtype))
        for root, gradient in zip((logits.hidden, logits.weight, logits.bias), made, strict=True)
        if root is not None and gradient is not None and root.requires_grad
    ]
    return Learnt(torch.cat(losses).view(shape), torch.cat(answers).view(shape), pairs)


def _loss_and_gradient(
    log_p: Tensor, target: Tensor, log_q: Tensor | None, alpha: float | Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return `L`, `[n]`, and `p − m`, `[n, V]`, in place of the log-belief; the target is `[n, 1]`, the teacher's belief spoilt."""
    peak, floor = 1 - smoothing, smoothing / log_p.shape[-1]
    right = log_p.gather(-1, target)
    cross = peak * right + (floor * log_p.sum(-1, keepdim=True) if floor else 0.0)
    entropy = -_x_log_x(peak + floor) - (log_p.shape[-1] - 1) * _x_log_x(floor)
    loss = alpha * (-cross - entropy)
    if log_q is None:
        gradient = log_p.exp_()
    else:
        q = log_q.exp()
        loss = loss + (1 - alpha) * (q * log_q.sub_(log_p)).sum(-1, keepdim=True)
        gradient = log_p.exp_().sub_(q.mul_(1 - alpha))
    if floor:
        gradient.sub_(alpha * floor)
    return loss.squeeze(-1), gradient.scatter_add_(-1, target, torch.full_like(right, -peak) * alpha)


def _x_log_x(x: float) -> float:
    return x * math.log(x) if x else 0.0
