"""Random numbers as functions of a position: a seed, an epoch, a step.

Nothing here has a state, so a run that resumes at (epoch, step) sees the numbers that it would have seen anyway.
"""

from hashlib import sha256

import torch
from torch import Tensor


def generator_at(purpose: str, *position: int) -> torch.Generator:
    """Return a CPU generator that depends on nothing but its arguments.

    The seed is the head of SHA-256 over the arguments, so neighbouring positions and different purposes
    share nothing, as they would with `seed + epoch`.
    """
    text = "/".join([purpose, *(str(number) for number in position)])
    seed = int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)
    return torch.Generator().manual_seed(seed)


def sample_order(n: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the samples in an epoch: a permutation of 0 … n−1, int64 `[n]`."""
    return torch.randperm(n, generator=generator_at("order", seed, epoch))


def step_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """Return the generator for the augmentation (and any dropout) of one step."""
    return generator_at("step", seed, epoch, step)
