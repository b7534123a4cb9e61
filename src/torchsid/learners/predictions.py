"""What the network predicted for each training sample when it last saw it: what ELR and self-distillation learn from."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from torchsid.learners.backprop import Backprop
from torchsid.learners.teachers import rows_of


class RememberingBackprop(Backprop):
    """Backpropagation with a memory: probabilities for every training sample, and how often it was seen.

    The memory takes 4 bytes a probability and goes into checkpoints.
    """

    remembers_samples = True
    needs_whole_samples: ClassVar[bool] = True
    predictions: Tensor | None = None
    """`[N, ..., C]`, zeros until a sample has been seen; made by `prepare_training`."""
    epochs: int = 1
    visits: Tensor
    """`[N]`; in epoch t of a run every sample has t − 1."""

    def prepare_training(self, *, samples: int, epochs: int, optimizer: Optimizer, answer: torch.Size) -> None:
        """Make room for the predictions."""
        self.epochs = epochs
        self.predictions = torch.zeros(samples, *answer, device=next(self.module.parameters()).device)
        self.visits = self.predictions.new_zeros(samples, dtype=torch.int64)

    def state(self) -> dict[str, Tensor]:
        """Return the memory."""
        return {} if self.predictions is None else {"memory:predictions": self.predictions, "memory:visits": self.visits}

    def recall(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions `[B, ..., C]` and visits `[B]` of the batch's samples, int64 `[B]`.

        Raises:
            ValueError: there are no such samples.
        """
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
