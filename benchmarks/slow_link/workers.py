"""Run one program at both ends of a line, as ranks 0 and 1 of a torch.distributed job; answers come back as JSON."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from slow_link.link import Link

PORT = 29500  # the namespaces are ours alone


def run_workers(link: Link, module: str, job: dict[str, Any], *, timeout_s: float = 1800) -> tuple[Any, Any]:
    """Run `python -m module JOB` at both ends, one thread each; return what each printed last, parsed as JSON.

    Raises:
        RuntimeError: a worker failed or took too long; holds the end of what it wrote on standard error.
    """
    with tempfile.TemporaryFile("w+") as first, tempfile.TemporaryFile("w+") as second:
        logs = (first, second)
        workers = []
        for rank, (end, log) in enumerate(zip(link.ends, logs, strict=True)):
            environment = {
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": "0",
                "WORLD_SIZE": "2",
                "LOCAL_WORLD_SIZE": "1",
                "MASTER_ADDR": link.ends[0].address,
                "MASTER_PORT": str(PORT),
                "GLOO_SOCKET_IFNAME": end.device,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])),
            }
            command = end.inside(sys.executable, "-m", module, json.dumps(job))
            workers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment))
        try:
            printed = [worker.communicate(timeout=timeout_s)[0] for worker in workers]
        except subprocess.TimeoutExpired:
            printed = ["", ""]
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()
        if any(worker.returncode for worker in workers):
            raise RuntimeError("\n".join(f"rank {rank}: {_end_of(log)}" for rank, log in enumerate(logs)))
    here, there = (json.loads(text.splitlines()[-1]) for text in printed)
    return here, there


def _end_of(log: IO[str], characters: int = 3000) -> str:
    log.seek(0)
    return log.read()[-characters:]
