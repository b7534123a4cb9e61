"""What training steps measure: added up where it was measured, on the device, and read when somebody asks."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor


@dataclass(kw_only=True)
class Sums:
    """Sums over the positions of an epoch, to be divided by their weight: a smaller last batch weighs what it should."""

    samples: int = 0
    positions: float = 0.0  # of the weights of all positions; what the losses are means over
    stage_losses: list[float] = field(default_factory=list)
    correct: list[float] = field(default_factory=list)  # of the weights of the positions that a stage answers right
    skipped_steps: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0

    @property
    def loss(self) -> float:
        """The mean of the summed loss of all stages; 0 when every step was skipped."""
        return sum(self.stage_losses) / (self.positions or 1.0)

    def means(self) -> dict[str, Any]:
        """Return the epoch's training metrics under their names in metrics.jsonl; null when every step was skipped."""
        count = self.positions or None
        return {
            "train_loss": self.loss if count else None,
            "train_stage_losses": [total / count for total in self.stage_losses] if count else None,
            "train_accuracy": [total / count for total in self.correct] if count else None,
            "samples_per_second": self.samples / self.seconds if self.seconds else None,
            "data_share": self.data_seconds / self.seconds if self.seconds else None,
            "skipped_steps": self.skipped_steps,
        }


class Measured(NamedTuple):
    """What one step measured, float64 on the device. A step that was left out adds nothing to the sums but its count."""

    counts: Tensor  # steps (1), steps left out (0 or 1), samples, and the sum of the positions' weights, `[4]`
    stage_losses: Tensor  # summed over the positions, `[L]`
    correct: Tensor  # weights of the positions that a stage answers right, `[L]`; of a method that tells of one belief `[1]`
    evidence: Tensor  # what is finite in a good step, `[n]`


class Meter:
    """Adds up on the device what the steps of an epoch measure, from the sums so far on, and holds the first bad one's evidence."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.begin(0, Sums())

    def begin(self, step: int, sums: Sums) -> None:
        """Go on after `step` steps of an epoch, with their sums."""
        self._start = [[step, sums.skipped_steps, sums.samples, sums.positions], sums.stage_losses, sums.correct]
        self._totals: list[Tensor] = []
        self._first_bad = torch.zeros(0)

    def add(self, measured: Measured) -> None:
        """Add a step; waits for nothing."""
        if not self._totals:
            start = (torch.tensor(values, dtype=torch.float64, device=self.device) for values in self._start)
            self._totals = [own if len(own) else torch.zeros_like(like) for own, like in zip(start, measured[:3], strict=True)]
            self._first_bad = torch.zeros(1 + len(measured.evidence), device=self.device, dtype=torch.float64)
        all_good = self._totals[0][1] == 0
        torch._foreach_add_(self._totals, list(measured[:3]))
        self._first_bad = torch.where(all_good, torch.cat([self._totals[0][:1], measured.evidence]), self._first_bad)

    def read(self, sums: Sums) -> tuple[int, list[float]]:
        """Bring the sums up to date, and wait for the device for that.

        Returns the number of the first bad step of the epoch, from 1, and its evidence; of the newest step, if none was bad.
        """
        if not self._totals:
            return 0, []
        parts = [*self._totals, self._first_bad]
        numbers = iter(torch.cat(parts).tolist())  # one transfer
        counts, sums.stage_losses, sums.correct, (step, *evidence) = ([next(numbers) for _ in part] for part in parts)
        _, sums.skipped_steps, sums.samples, sums.positions = int(counts[0]), int(counts[1]), int(counts[2]), counts[3]
        return int(step), evidence
