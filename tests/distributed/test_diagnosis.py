"""The worker that hangs, failed or was killed is named, whoever waits for whom."""

import os
import signal
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed as dist
from tests.distributed.networks import batches, crossing_cascade, pipelined
from tests.distributed.workers import error_of, in_workers

from torchsid.distributed.diagnosis import explaining
from torchsid.distributed.world import join
from torchsid.errors import WorkerError

PATIENCE = 2.0  # seconds


def take_part(rank: int, who: int, what: str, done: Path, replicas: int = 1) -> str:
    """Return what a worker says when the culprit, after two steps, hangs, fails or is killed."""
    said = error_of(partial(train, who, what, done, replicas))
    (done / str(rank)).touch()
    return said


def train(who: int, what: str, done: Path, replicas: int) -> None:
    with join(replicas=replicas, timeout=60) as world:
        # Who waits for one that hangs has a short patience; all else may take longer on a busy machine.
        patience = PATIENCE if what == "hangs" else 60
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=patience), world.mesh.get_group("data"))
        learner = pipelined(crossing_cascade(quiet=True), replace(world, timeout=patience), queue=1)
        (x, target), *_ = batches()
        for step in range(12):
            if step == 2 and world.rank == who:
                misbehave(what, done, world.size - 1)
            learner.step(x, target)
        learner.flush()
        world.gather(None)


def misbehave(what: str, done: Path, others: int) -> None:
    match what:
        case "fails":
            raise ZeroDivisionError("out of luck")
        case "is killed":
            os._exit(0)
        case "hangs":
            while len(list(done.iterdir())) < others:
                time.sleep(0.02)
            raise TimeoutError("woke up")


@pytest.mark.parametrize(("size", "who", "replicas"), [(3, 0, 1), (3, 1, 1), (3, 2, 1), (2, 1, 2)])
def test_the_worker_that_hangs_is_named_by_all_others(tmp_path: Path, size: int, who: int, replicas: int) -> None:
    said = in_workers(partial(take_part, who=who, what="hangs", done=tmp_path, replicas=replicas), size)
    for rank in set(range(size)) - {who}:
        assert said[rank].startswith("WorkerError: ")
        assert f"; worker {who} gave no sign of life" in said[rank]
        assert "distributed.timeout" in said[rank]


@pytest.mark.parametrize("who", [0, 1, 2])
def test_all_others_say_why_a_worker_failed(tmp_path: Path, who: int) -> None:
    said = in_workers(partial(take_part, who=who, what="fails", done=tmp_path), 3)
    assert said.pop(who) == "ZeroDivisionError: out of luck"
    for error in said:
        assert error.startswith("PeerLostError: ")
        assert error.endswith(f"; worker {who} failed: ZeroDivisionError: out of luck")


def test_all_others_say_which_worker_was_killed(tmp_path: Path) -> None:
    first, _, last = in_workers(partial(take_part, who=1, what="is killed", done=tmp_path), 3)
    for error in (first, last):
        assert error.startswith("WorkerError: ")
        assert "; worker 1 closed the connection without a word" in error


def stopped(rank: int) -> str | None:
    """Worker 0 keeps the store, as without `torchrun`, and is stopped with it; the other wakes it up when it has said so."""
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) % 20000 + 30000)

    def wait() -> None:
        with join(timeout=20) as world:
            process = world.gather(os.getpid())[0]
            short = replace(world, timeout=PATIENCE)
            if rank == 0:
                os.kill(process, signal.SIGSTOP)
                raise TimeoutError("woke up")
            try:
                with explaining(short, "something"):
                    raise RuntimeError("Timed out waiting")
            finally:
                os.kill(process, signal.SIGCONT)

    return error_of(wait)


def test_a_first_worker_that_hangs_with_the_store_is_named() -> None:
    first, other = in_workers(stopped)
    assert first == "TimeoutError: woke up"
    assert other.startswith("WorkerError: worker 1 waited")
    assert "; worker 0, which keeps the job's notes, gave no sign of life" in other


def test_nobody_waits_twice(tmp_path: Path) -> None:
    lost = WorkerError("worker 1 hangs")
    with pytest.raises(WorkerError) as caught, explaining(SimpleNamespace(lost=[lost]), "anything"):  # type: ignore[arg-type]
        raise AssertionError("is not begun")
    assert caught.value is lost


def slow(rank: int) -> str:
    with join(timeout=60) as world:
        if rank:
            time.sleep(PATIENCE / 10)
        short = replace(world, timeout=PATIENCE, lost=[])
        with pytest.raises(WorkerError) as caught, explaining(short, "something"):
            raise RuntimeError("Timed out waiting")
        world.gather(None)
        return str(caught.value)


def test_who_is_slow_but_alive_is_not_blamed() -> None:
    """Everyone waits too long for something: in the end all have said so."""
    told = in_workers(slow)
    assert all("every worker is alive" in each for each in told)
