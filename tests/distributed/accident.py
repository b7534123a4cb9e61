"""`torchsid`, in which workers meet accidents: a script for `torchrun`.

The environment variable ACCIDENTS has a JSON list of [start, rank, step, kind]: in which start of the workers, from 0, to which of
them, before which step of the run. Kinds: `kill`, `raise`, `interrupt`, which the launcher meets, and `halt`, of the first worker,
which ends the run after the step that follows.
"""

import json
import os
import signal
import sys
import time

from torchsid.cli.main import main
from torchsid.errors import NonFiniteError
from torchsid.training import loop
from torchsid.training.batches import Batch
from torchsid.training.session import Session

ACCIDENTS = json.loads(os.environ["ACCIDENTS"])
START, RANK = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
take_step = loop._take_step


def stumble(session: Session, batch: Batch) -> None:
    for start, rank, step, kind in ACCIDENTS:
        if (start, rank, step) == (START, RANK, session.global_step):
            match kind:
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "raise":
                    raise NonFiniteError("out of luck")
                case "halt":
                    session.timing._stop.signal = signal.SIGTERM
                case "interrupt":
                    os.kill(os.getppid(), signal.SIGTERM)
                    time.sleep(1)  # until it has come to the first worker, which runs ahead by a few steps at most
    take_step(session, batch)


loop._take_step = stumble
sys.exit(main())
