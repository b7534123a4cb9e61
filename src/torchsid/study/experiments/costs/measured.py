"""What was measured so far, a line each in `measured.jsonl`: a killed experiment goes on with what is missing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchsid.training.durable import write_text
from torchsid.training.provenance import now

FILE = "measured.jsonl"

Found = dict[str, Any]


class Measured:
    """Findings by what was asked; anything but an answer to the same question counts for nothing, nor does a broken line.

    Args:
        out: folder of the experiment; made when the first finding comes.
        environment: belongs to every question: versions, hardware. On another machine everything is measured anew.
    """

    def __init__(self, out: Path, environment: Mapping[str, Any]) -> None:
        self.path = out / FILE
        self.environment = dict(environment)
        self._lines = [line for line in self._read() if line is not None]

    def find(self, asked: Mapping[str, Any]) -> Found | None:
        """Return what was found, or None."""
        question = self._question(asked)
        return next((line["found"] for line in self._lines if line["asked"] == question), None)

    @property
    def finished(self) -> str:
        """The time of the last finding."""
        return max((str(line["date"]) for line in self._lines), default="")

    def add(self, asked: Mapping[str, Any], found: Found) -> None:
        """Keep a finding.

        Raises:
            RunError: the file cannot be written.
        """
        self._lines.append({"asked": self._question(asked), "date": now(), "found": found})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in self._lines))

    def _question(self, asked: Mapping[str, Any]) -> Found:
        question: Found = json.loads(json.dumps({**asked, "environment": self.environment}))  # lists for tuples, as after reading
        return question

    def _read(self) -> list[Found | None]:
        try:
            return [_parsed(line) for line in self.path.read_text("utf-8", errors="replace").splitlines()]
        except FileNotFoundError:
            return []


def _parsed(line: str) -> Found | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.keys() >= {"asked", "date", "found"} else None
