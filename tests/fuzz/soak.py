"""The long run: kinds take turns in processes of their own, until the time is up; what came of them is counted and written."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.case import KINDS

PATIENCE = 300.0
"""Seconds after which a case counts as hanging."""
TURN = 60.0
"""Seconds after which the next kind has its turn, in a new process."""


@dataclass
class Count:
    """What came of the cases of one kind."""

    cases: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)


def soak(kinds: list[str], seconds: float, seed: int) -> dict[str, Count]:
    """Run cases of these kinds in turn, their seeds counted up from `seed`, and return what came of them, by kind."""
    counts, end = {kind: Count() for kind in kinds}, time.monotonic() + seconds
    while time.monotonic() < end:
        for kind in kinds:
            _turn(kind, seed + counts[kind].cases, counts[kind], end)
            told = counts[kind]
            print(f"{kind}: {told.cases} cases, {len(told.findings)} findings", flush=True)
    return counts


def _turn(kind: str, seed: int, count: Count, end: float) -> None:
    """Run cases until the turn or the time is over; a process that dies or hangs is a finding too, and ends the turn."""
    started = time.monotonic()
    for done in _cases(kind, seed, min(TURN, max(end - started, 1))):
        count.cases += 1
        if "finding" in done:
            count.findings.append(done)
            print(f"FOUND: {done['finding'][-1500:]}\nonce more: python -m tests.fuzz {kind} {done['seed']}", flush=True)
        else:
            count.outcomes[done["outcome"]] += 1
    count.seconds += time.monotonic() - started


def _cases(kind: str, seed: int, seconds: float) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.fuzz", kind, str(seed), "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        said, answered = [], seed
        assert process.stdout
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
                answered += 1
                said.clear()
            else:
                said.append(line)
    if process.returncode:
        yield {"seed": answered, "finding": f"the process ended with {process.returncode}: {''.join(said)[-3000:]}"}


def written(counts: dict[str, Count], seed: int, seconds: float) -> dict[str, Any]:
    """Return the record of a soak as JSON can hold it."""
    import torch

    from torchsid import __version__

    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    kinds = {
        kind: {
            "cases": count.cases,
            "seconds": round(count.seconds, 1),
            "outcomes": dict(count.outcomes.most_common()),
            "findings": [{"seed": found["seed"], "finding": _error(found["finding"])} for found in count.findings],
        }
        for kind, count in counts.items()
    }
    about = {"commit": commit, "torchsid": __version__, "torch": torch.__version__, "python": sys.version.split()[0]}
    return about | {"processors": os.cpu_count(), "seed": seed, "seconds": seconds, "kinds": kinds}


def _error(traceback: str) -> str:
    """Return the line that names the error: a record holds no folders of the machine."""
    lines = [line.strip() for line in traceback.splitlines() if line.strip() and not line.startswith("once more")]
    return next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception)\b|the process ended", line)), lines[-1])[
        :300
    ]


def main() -> int:
    """Run from the command line; the exit code says whether anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first case of every kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path, help="where the counts go")
    args = parser.parse_args()
    counts = soak([*args.kinds], args.seconds, args.seed)
    if args.json:
        args.json.write_text(json.dumps(written(counts, args.seed, args.seconds), indent=1) + "\n")
    return int(any(count.findings for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
