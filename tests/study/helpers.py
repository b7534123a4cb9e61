"""Beliefs made by hand."""

import torch
from torch import Tensor


def believing(answers: Tensor, num_classes: int, sure: float = 0.7) -> Tensor:
    """Log-beliefs `[L+1, N, C]` of stages that give these answers `[L, N]`, after a uniform prior."""
    rest = (1 - sure) / (num_classes - 1)
    stages = torch.full((*answers.shape, num_classes), rest).scatter(-1, answers.unsqueeze(-1), sure)
    return torch.cat([torch.full_like(stages[:1], 1 / num_classes), stages]).log()
