"""Who hears of a run while it goes on: the seam between training and the terminal."""

from pathlib import Path
from typing import Any


class Reporter:
    """Receives the events of a run and does nothing; override what is to be told. A method returns at once and changes nothing."""

    def started(self, manifest: dict[str, Any], locality_text: str) -> None:
        """Training begins or goes on; `manifest` is what stands in manifest.json."""

    def step(self, epoch: int, steps_done: int, steps_total: int, loss: float, samples_per_second: float) -> None:
        """A step of the epoch is done; called ten times a second at most, and after the last step of an epoch."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch is done; `record` is its line in metrics.jsonl."""

    def finished(self, run: Path, evaluation: dict[str, Any]) -> None:
        """Training and evaluation are done; `evaluation` is what stands in evaluation.json."""

    def warning(self, text: str) -> None:
        """Something the user should know happened, and the run goes on."""

    def interrupted(self, run: Path) -> None:
        """A signal ended the run early; it is saved and can be resumed."""
