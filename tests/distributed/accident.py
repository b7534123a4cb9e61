"""`torchsid` in the workers of a launcher, where they meet accidents."""

import os
import signal
import sys
import time

from torchsid.cli.main import main
from torchsid.errors import NonFiniteError
from torchsid.training import loop
from torchsid.training.batches import Batch
from torchsid.training.session import Session

Accident = tuple[int, int, int, str]
"""In which start of the workers, from 0, to which of them, before which step of the run, and what: `kill`; `raise`; `interrupt`,
which the launcher meets; `halt`, of the first worker, which ends the run after the step that follows."""


def stumble(launcher: int, accidents: list[Accident], arguments: list[str]) -> None:
    """Run the command in a worker that the process `launcher` has started."""
    here = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
    take_step = loop._take_step

    def take_step_or_stumble(session: Session, batch: Batch) -> None:
        for start, rank, step, kind in accidents:
            if (start, rank, step) == (*here, session.global_step):
                match kind:
                    case "kill":
                        os.kill(os.getpid(), signal.SIGKILL)
                    case "raise":
                        raise NonFiniteError("out of luck")
                    case "halt":
                        session.stop.signal = signal.SIGTERM
                    case "interrupt":
                        os.kill(launcher, signal.SIGTERM)
                        time.sleep(1)  # until it has come to the first worker, which runs ahead by a few steps at most
        take_step(session, batch)

    loop._take_step = take_step_or_stumble
    sys.modules["jinja2"] = None  # type: ignore[assignment]  # reports take longer than all the rest
    sys.exit(main(arguments))
