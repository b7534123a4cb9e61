"""Where a run stands: two integers, the sums of the epoch, and the best epoch so far. All of it fits into JSON exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(kw_only=True)
class EpochSums:
    """Sums over the positions of an epoch, divided by their weight at its end: a smaller last batch weighs what it should."""

    samples: int = 0
    positions: float = 0.0
    loss: float = 0.0
    stage_losses: list[float] = field(default_factory=list)
    correct: list[float] = field(default_factory=list)
    skipped_steps: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0

    def add(self, samples: int, positions: float, loss: float, stage_losses: Sequence[float], correct: Sequence[float]) -> None:
        """Add one step: samples, weight of their positions, mean losses, weight of every stage's right answers."""
        self.samples += samples
        self.positions += positions
        self.loss += loss * positions
        self.stage_losses = [
            a + b * positions for a, b in zip(self.stage_losses or [0.0] * len(stage_losses), stage_losses, strict=True)
        ]
        self.correct = [a + b for a, b in zip(self.correct or [0.0] * len(correct), correct, strict=True)]

    def means(self) -> dict[str, Any]:
        """Return the epoch's training metrics under their names in metrics.jsonl; null when every step was skipped."""
        count, seconds = self.positions or None, self.seconds or None
        return {
            "train_loss": self.loss / count if count else None,
            "train_stage_losses": [total / count for total in self.stage_losses] if count else None,
            "train_accuracy": [total / count for total in self.correct] if count else None,
            "samples_per_second": self.samples / seconds if seconds else None,
            "data_share": self.data_seconds / seconds if seconds else None,
            "skipped_steps": self.skipped_steps,
        }


@dataclass(kw_only=True)
class Progress:
    """Position and history of a run. `epoch` counts from 1 and is the one in work; `step` are its steps that are done."""

    epoch: int = 1
    step: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    best_epoch: int = 0
    best_accuracy: float = -1.0
    seconds: float = 0.0
    rising: list[int] = field(default_factory=list)
    """For how many epochs in a row each stage has taken beliefs away from the labels, `[L]`; empty without `training.certify`."""

    def start_next_epoch(self) -> None:
        """Move to the first step of the next epoch."""
        self.seconds += self.sums.seconds
        self.epoch, self.step, self.sums = self.epoch + 1, 0, EpochSums()

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON can hold it; JSON keeps every float64 exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Return the progress that `to_json` gave."""
        return cls(**{**state, "sums": EpochSums(**state["sums"])})
