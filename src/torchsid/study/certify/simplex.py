"""Beliefs restricted to three classes, and which three are worth a look."""

import torch
from torch import Tensor


def of_three(beliefs: Tensor, classes: tuple[int, int, int]) -> Tensor:
    """Return beliefs `[..., C]`, restricted to three classes and renormalised, `[..., 3]`; 1/3 each where they have none."""
    three = beliefs[..., list(classes)].double()
    total = three.sum(-1, keepdim=True)
    return torch.where(total > 0, three / total.where(total > 0, 1.0), 1 / 3)


def entangled(answers: Tensor, truth: Tensor, class_beliefs: Tensor) -> tuple[int, int, int] | None:
    """Return the three classes most often taken for each other, ascending; None where there are fewer than three.

    Args:
        answers: of one stage, `[N]`.
        truth: the true classes, int64 `[N]`.
        class_beliefs: mean belief `[C, C]` of that stage by true class, which decides between classes confused equally often.
    """
    count = len(class_beliefs)
    if count < 3:
        return None
    confused = torch.bincount(truth * count + answers.long(), minlength=count**2).reshape(count, count).double()
    confused += 1e-3 * class_beliefs
    pairs = (confused + confused.T).fill_diagonal_(-torch.inf)  # a class counts once

    def best_with(first: int) -> tuple[float, int, int]:
        """Return the largest sum over the three pairs of a triple with this class, and the other two."""
        sums = pairs + pairs[first].unsqueeze(0) + pairs[first].unsqueeze(1)
        place = int(sums.argmax())
        return float(sums.flatten()[place]), place // count, place % count

    first = max(range(count), key=lambda name: best_with(name)[0])
    a, b, c = sorted((first, *best_with(first)[1:]))
    return a, b, c
