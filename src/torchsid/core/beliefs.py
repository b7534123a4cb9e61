"""Beliefs: categorical distributions over C outcomes, kept as log-probabilities of shape `[B, ..., C]`.

Between batch and outcomes lie positions: none for a classifier, tokens of a text, slots of several answers. Everything here is a
pure function. Zero probabilities are allowed (`log 0 = -inf`), with the usual convention `0 · log 0 = 0`.
Sources: arXiv 2510.03273, section 3 and Proposition 1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torchsid.errors import TargetError

_ROUNDING = 1e-2  # of the sum of a row, which may come from half precision


def to_log_belief(logits: Tensor) -> Tensor:
    """Return `log softmax(logits)`, `[..., C]`, in float32 or float64, since a belief needs more digits than bfloat16 has."""
    return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))


def uniform_prior(num_classes: int, device: torch.device | None = None) -> Tensor:
    """Return `p_0 = 1/C` for every class, as log-probabilities `[C]`, made on the device."""
    return torch.full((num_classes,), -math.log(num_classes), device=device)


def frequency_prior(counts: Tensor, *, pseudo_count: float = 1.0) -> Tensor:
    """Return `p_0 ∝ counts + pseudo_count`, as log-probabilities `[C]`.

    Args:
        counts: how often each class occurs in the training set, `[C]`.
        pseudo_count: added to each count, so that no class starts with probability zero.

    Raises:
        ValueError: a count is negative or not finite, or a class would have probability zero.
    """
    counts = torch.as_tensor(counts).double()
    share = (counts + pseudo_count) / (counts + pseudo_count).sum()
    if counts.dim() != 1 or not bool(((counts >= 0) & (share > 0)).all()):  # infinite counts have shares of NaN
        shown = ", ".join(f"{count:g}" for count in counts.flatten()[:8].tolist()) + (", …" if counts.numel() > 8 else "")
        wanted = "counts must be one finite number >= 0 a class and pseudo_count > 0 where a count is 0"
        raise ValueError(f"class counts [{shown}] with pseudo_count={pseudo_count} give a class no probability; {wanted}")
    return share.log().to(torch.get_default_dtype())


def log_target(
    target: Tensor,
    num_classes: int,
    *,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the target distribution `p_y` as log-probabilities, smoothed to `(1−ε)·p_y + ε/C`.

    Args:
        target: integer outcomes `[B, ...]`, or probability rows `[B, ..., C]` (floating point); a constant, no gradient reaches it.
        num_classes: C.
        label_smoothing: ε in [0, 1]. With ε = 0 an integer target is one-hot: `-inf` off the outcome.
        weight: of each position, `[B, ...]`, as `torchsid.core.weighting.counted` returns it. Where it is 0 the target may be
            anything.
        dtype: of the result; the default is float32, or float64 for float64 rows.

    Raises:
        TargetError: no tensor of integers or floating point, an outcome outside [0, C), rows of another width, negative entries,
            or rows that do not sum to 1.
    """
    target = _checked(target, num_classes, weight)
    if target.is_floating_point():
        dtype = dtype or torch.promote_types(target.dtype, torch.float32)
        log_p = target.to(dtype).log()
    else:
        log_p = torch.full((*target.shape, num_classes), -math.inf, dtype=dtype or torch.float32, device=target.device)
        log_p.scatter_(-1, target.unsqueeze(-1), 0.0)
    return smooth(log_p, label_smoothing)


def classes_of(target: Tensor, num_classes: int, weight: Tensor | None = None) -> Tensor:
    """Return outcomes `[B, ...]` as int64 in [0, C), whatever they were where the weight is 0; errors as of `log_target`."""
    return _checked(target, num_classes, weight)


def check_positions(given: Sequence[int], answered: Sequence[int], num_classes: int) -> None:
    """Raise `TargetError` unless a target is for the positions answered, both `[B, ...]`; broadcasting would hide it."""
    given, answered = list(given), list(answered)
    if given == answered:
        return
    if given == [*answered, num_classes]:
        wanted = "rows, one-hot or not, are floating point, target.float(), and classes one integer a position, target.argmax(-1)"
        raise TargetError(f"the target has one integer a class, {given}: {wanted}")
    wanted = f"give one class or row of {num_classes} probabilities for each"
    column = ", that is target.squeeze(-1)" if given == [*answered, 1] else ""
    batches = f"a batch of shape {given}, but the samples or beliefs that came with them for {answered}"
    raise TargetError(f"the targets are for {batches}: {wanted}{column}")


def mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return `Σ w·v / Σ w` over all positions, a scalar; the plain mean without weights, 0 where all of them are 0.

    Args:
        values: `[B, ...]`; where the weight is 0 they count nothing, whatever they are.
        weight: `[B, ...]`, 0 or more.
    """
    return values.mean() if weight is None else (values.masked_fill(weight == 0, 0.0) * share(weight)).sum()


def share(weight: Tensor) -> Tensor:
    """Return `w / Σ w`, `[B, ...]`: the part that each position has in a mean; 0 where all weights are 0."""
    return weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def smooth(log_belief: Tensor, epsilon: float) -> Tensor:
    """Return `log((1−ε)·p + ε/C)` for log-probabilities `[..., C]`."""
    if epsilon == 0.0:
        return log_belief
    log_uniform = torch.full_like(log_belief, -math.log(log_belief.shape[-1]))
    return arithmetic_mixture(log_uniform, log_belief, epsilon)  # in this order a small ε keeps its digits


def expectation(log_belief: Tensor, values: Tensor) -> Tensor:
    """Return `Σ_c p_c · v_c` over the last dimension, `[...]`; classes with `p_c = 0` count nothing, whatever their value."""
    belief = log_belief.exp()
    return (belief * values.masked_fill(belief == 0, 0.0)).sum(-1)


def entropy(log_belief: Tensor) -> Tensor:
    """Return `H(p) = −Σ_c p_c log p_c` in nats, `[...]`."""
    return -expectation(log_belief, log_belief)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return `KL(p ‖ q) = Σ_c p_c (log p_c − log q_c)` in nats, `[...]`; infinite where q misses a class that p has."""
    return expectation(log_p, log_p - log_q)


def forward_kl(log_belief: Tensor, log_reference: Tensor) -> Tensor:
    """Return `D(p, q) = KL(q ‖ p)`: the direction of the reference code. Finite for one-hot references."""
    return kl(log_reference, log_belief)


def reverse_kl(log_belief: Tensor, log_reference: Tensor) -> Tensor:
    """Return `D(p, q) = KL(p ‖ q)`: the direction of the paper's theory. The reference needs full support."""
    return kl(log_belief, log_reference)


def arithmetic_mixture(log_p: Tensor, log_q: Tensor, alpha: float | Tensor) -> Tensor:
    """Return `log(α p + (1−α) q)`: the minimiser of `α KL(p‖·) + (1−α) KL(q‖·)`."""
    weight = number_like(log_p, alpha)
    return torch.logaddexp(weight.log() + log_p, torch.log1p(-weight) + log_q)


def geometric_mixture(log_p: Tensor, log_q: Tensor, alpha: float | Tensor) -> Tensor:
    """Return `log softmax(α log p + (1−α) log q)`: the minimiser of `α KL(·‖p) + (1−α) KL(·‖q)` (Proposition 1)."""
    weight = number_like(log_p, alpha)
    return (_scaled(weight, log_p) + _scaled(1.0 - weight, log_q)).log_softmax(-1)


def number_like(tensor: Tensor, number: float | Tensor) -> Tensor:
    """Return a number, or a tensor of numbers, in the precision of `tensor` and on its device, which makes it: no copy waits."""
    return number.to(tensor) if isinstance(number, Tensor) else tensor.new_full((), number)


def _scaled(weight: Tensor, log_p: Tensor) -> Tensor:
    """Return `w · log p` with `0 · log 0 = 0`."""
    return (weight * log_p).masked_fill(weight == 0, 0.0)


def readable(tensor: Tensor) -> bool:
    """Return whether values can be checked for nothing: elsewhere a check would wait for the device, where indexing asserts."""
    return tensor.device.type == "cpu"


def _checked(target: Tensor, num_classes: int, weight: Tensor | None) -> Tensor:
    """Return a target, int64 or floating point, that is some valid one where the weight is 0; raise where it is wrong elsewhere."""
    if not isinstance(target, Tensor) or target.is_complex():
        what = f"of {target.dtype}" if isinstance(target, Tensor) else f"of type {type(target).__name__}"
        raise TargetError(f"the target is {what}: give a tensor of integers or of floating-point rows, torch.as_tensor(target)")
    ignored = None if weight is None else weight == 0
    if target.is_floating_point():
        target = target.detach()
        if target.shape[-1:] != (num_classes,):
            places = [place for place, size in enumerate(target.shape) if place and size == num_classes]
            hint = f", target.movedim({places[0]}, -1)" if places else "; a class is an integer, target.long()"
            wanted = f"the last dimension must be the {num_classes} classes{hint}"
            raise TargetError(f"target rows of shape {tuple(target.shape)}: {wanted}")
        if ignored is not None:
            target = target.masked_fill(ignored.unsqueeze(-1), 1 / num_classes)
        total = target.sum(-1)
        if readable(target) and not bool(((target >= 0).all(-1) & ((total - 1).abs() <= _ROUNDING)).all()):
            found = f"entries start at {target.min():.4g} and rows sum to {total.min():.4g} to {total.max():.4g}"
            wanted = "give integer classes, or rows that are >= 0 and sum to 1"
            raise TargetError(f"target rows must be probabilities, but {found}: {wanted}")
        return target
    target = target.long() if ignored is None else target.long().masked_fill(ignored, 0)
    low, high = (int(target.min()), int(target.max())) if readable(target) and target.numel() else (0, 0)
    if low < 0 or high >= num_classes:
        way_out = "correct the labels, or give what is to be ignored the weight 0 or the class -100"
        found = f"target holds classes from {low} to {high}, allowed are 0 to {num_classes - 1}"
        raise TargetError(f"{found}: set num_classes to the largest label + 1, {way_out}")
    return target
