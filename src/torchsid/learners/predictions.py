"""What the network answered on each training sample when it last saw it.

ELR and self-distillation learn from predictions. In SID stage i waits for `p_{i−1}` of the same batch: a forward lock. A memory
gives it the `p_{i−1}` of the same sample from one epoch before instead, so that all stages of a shared cascade can work on a batch
at once. What they learn from is older; that is the price, and it is measured.
"""

from copy import copy
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchsid.core import beliefs
from torchsid.learners.backprop import Backprop


class RememberingBackprop(Backprop):
    """Backpropagation with a memory: probabilities for every training sample, and how often it was seen.

    The memory takes 4 bytes a probability and goes into checkpoints.
    """

    remembers_samples = True
    needs_whole_samples: ClassVar[bool] = True
    predictions: Tensor | None = None  # `[N, ..., C]`, zeros until a sample has been seen; made by `prepare_training`
    epochs: int = 1
    visits: Tensor  # `[N]`; in epoch t of a run every sample has t − 1

    def prepare_training(self, *, samples: int, epochs: int, optimizer: Optimizer, answer: torch.Size) -> None:
        """Make room for the predictions; see `Learner.prepare_training`."""
        super().prepare_training(samples=samples, epochs=epochs, optimizer=optimizer, answer=answer)
        self.epochs = epochs
        self.predictions = torch.zeros(samples, *answer, device=next(self.module.parameters()).device)
        self.visits = self.predictions.new_zeros(samples, dtype=torch.int64)

    def state(self) -> dict[str, Tensor]:
        """Return the memory."""
        return {} if self.predictions is None else {"memory:predictions": self.predictions, "memory:visits": self.visits}

    def recall(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions `[B, ..., C]` and visits `[B]` of the batch's samples, int64 `[B]`; see `rows_of`."""
        assert self.predictions is not None
        rows = rows_of(samples, self.predictions)
        return self.predictions[rows], self.visits[rows]

    def remember(self, samples: Tensor, predictions: Tensor) -> None:
        """Keep the new predictions `[B, ..., C]` and count a visit.

        Rows that are not finite are left as they were: `training.on_non_finite` may skip their step.
        """
        assert self.predictions is not None
        rows = rows_of(samples, self.predictions)
        finite = predictions.isfinite().flatten(1).all(1)
        kept = finite.view(-1, *(1,) * (predictions.dim() - 1))
        self.predictions[rows] = torch.where(kept, predictions.to(self.predictions), self.predictions[rows])
        self.visits[rows] += finite.to(self.visits)


class BeliefMemory:
    """`p_0 … p_{L−1}` of every training sample, as log-probabilities; the prior, `[..., C]`, until a sample has been seen.

    Takes 4 bytes a probability.
    """

    def __init__(self, samples: int, depth: int, log_prior: Tensor) -> None:
        self.table = log_prior.expand(samples, depth, *log_prior.shape).clone()  # `[N, L, ..., C]`
        self._first = 0  # stage of the whole cascade

    def of_stages(self, stages: range) -> "BeliefMemory":
        """Return a memory of some neighbouring stages (from 0) alone."""
        memory = copy(self)
        memory.table, memory._first = self.table[:, stages.start : stages.stop].clone(), self._first + stages.start
        return memory

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds: views `[N, ..., C]` of the table, one for the teacher of each stage."""
        return {f"teacher:stages.{self._first + i}": teacher for i, teacher in enumerate(self.table.unbind(1))}

    def teachers(self, samples: Tensor) -> Tensor:
        """Return what the stages learn from, `[L, B, ..., C]`, by indices of the batch's samples, int64 `[B]`; see `rows_of`."""
        return self.table[rows_of(samples, self.table)].transpose(0, 1)

    def remember(self, samples: Tensor, stage: int, log_belief: Tensor) -> None:
        """Keep what stage `stage` (from 0, of these) answered, `[B, ..., C]`, to teach the next one; the last teaches nobody."""
        if stage + 1 < self.table.shape[1]:
            self.table[rows_of(samples, self.table), stage + 1] = log_belief.to(self.table)


def rows_of(samples: Tensor, table: Tensor) -> Tensor:
    """Return the indices, int64 `[B]`, of samples in a table, on its device; a ValueError where there are none such."""
    count = len(table)
    if beliefs.readable(samples) and len(samples) and not 0 <= int(samples.min()) <= int(samples.max()) < count:
        raise ValueError(f"samples from {int(samples.min())} to {int(samples.max())}: the memory is of {count}, 0 to {count - 1}")
    return samples.to(table.device)
