"""What the network predicted for each training sample when it last saw it: the memory of ELR and of self-distillation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchsid.learners.memory import rows_of


class PredictionMemory:
    """Probabilities for every training sample, zeros until it has been seen, and how often that was.

    Takes 4 bytes a probability and goes into checkpoints.

    Args:
        samples: N.
        answer: the shape of one sample's belief, `[..., C]`.
        dtype: of the probabilities.
        device: where the network is.
    """

    def __init__(
        self, samples: int, answer: Sequence[int], *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> None:
        self.predictions = torch.zeros(samples, *answer, dtype=dtype, device=device)
        """`[N, ..., C]`."""
        self.visits = torch.zeros(samples, dtype=torch.int64, device=device)
        """`[N]`; in epoch t of a run every sample has t − 1."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds."""
        return {"memory:predictions": self.predictions, "memory:visits": self.visits}

    def recall(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions `[B, ..., C]` and visits `[B]` of the batch's samples, int64 `[B]`.

        Raises:
            ValueError: there are no such samples.
        """
        rows = rows_of(samples, self.predictions)
        return self.predictions[rows], self.visits[rows]

    def remember(self, samples: Tensor, predictions: Tensor) -> None:
        """Keep the new predictions `[B, ..., C]` and count a visit.

        Rows that are not finite are left as they were: `training.on_non_finite` may skip their step.
        """
        rows = rows_of(samples, self.predictions)
        finite = predictions.isfinite().flatten(1).all(1)
        kept = finite.view(-1, *(1,) * (predictions.dim() - 1))
        self.predictions[rows] = torch.where(kept, predictions.to(self.predictions), self.predictions[rows])
        self.visits[rows] += finite.to(self.visits)
