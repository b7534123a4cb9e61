import os
import socket
from functools import partial

import pytest
import torch.distributed as dist
from tests.distributed.workers import error_of, in_workers

from torchsid.distributed import world
from torchsid.distributed.diagnosis import speaks
from torchsid.distributed.world import join
from torchsid.errors import ConfigError, DataError, PeerLostError, WorkerError


def place(rank: int) -> list[object]:
    with join(replicas=2, timeout=60) as world:
        forward = world.neighbour(1) if not world.is_last else None
        at = [world.position, world.replica, world.is_first, world.is_last, world.leads, forward]
        return [*at, world.on_lead(lambda: 10 * world.rank), world.gather(rank)]


def test_workers_form_a_mesh() -> None:
    everyone = [0, 1, 2, 3]
    assert in_workers(place, 4) == [
        [0, 0, True, False, False, 2, 20, everyone],
        [0, 1, True, False, False, 3, 20, everyone],
        [1, 0, False, True, True, None, 20, everyone],
        [1, 1, False, True, False, None, 20, everyone],
    ]


def refuse() -> None:
    raise OSError("no space")


def disagree(rank: int) -> list[str]:
    with join(timeout=60) as world:
        facts = {"torch": "2.11", "data": "mnist" if rank == 1 else "digits", "source code": 100 * "f" if rank else "0" + 100 * "f"}
        same, other = (error_of(partial(world.check_agreement, each)) for each in ({"torch": "2.11"}, facts))
        failed = error_of(lambda: world.on_lead(refuse))
        world.gather(None)
        return [same, other, failed]


def test_every_worker_hears_who_differs_in_what_and_that_the_lead_failed() -> None:
    workers = in_workers(disagree, 3)
    for same, other, _ in workers:
        assert same == "no error"
        assert other.startswith("ConfigError: 2 problems")
        assert "differ in data: digits on 0, 2; mnist on 1;" in other
        assert "differ in source code: 0fffffffffffffffffff on 0; ffffffffffffffffffff on 1, 2;" in other
    *others, lead = (failed for _, _, failed in workers)
    assert lead == "OSError: no space"
    assert others == 2 * ["PeerLostError: worker 2, which writes the run, failed: read that worker's error"]


@pytest.mark.parametrize(
    ("devices", "told"),
    [
        (["cpu", "cpu"], []),
        (["cuda a", "cuda b"], []),
        (["cuda a", "cuda b", "cuda a"], ["3 workers, CUDA devices: 2 (workers 0, 2 share one)", "start at most 2,", "'cpu'"]),
        (["cuda a", "cpu"], ["worker 1 would train on a processor, the others on CUDA", "training.device = 'cpu' for all"]),
    ],
)
def test_every_worker_has_a_device_of_its_own(devices: list[str], told: list[str]) -> None:
    problems = list(world._device_problems(devices))
    assert len(problems) == min(1, len(told))
    assert all(fragment in problems[0] for fragment in told)


def crowd(rank: int) -> list[object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "_identity", lambda device: "cuda GPU-1")
        return [error_of(lambda: join(timeout=60).__enter__()), dist.is_initialized()]


def test_workers_that_share_a_device_hear_it_before_anything_starts() -> None:
    for error, connected in in_workers(crowd, 2):
        assert error.startswith(
            "ConfigError: 1 problem in the distributed job:\n  - 2 workers, CUDA devices: 1 (workers 0, 1 share one)"
        )
        assert not connected


def test_without_a_launcher_nobody_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node") as caught, join():
        pass
    assert len(caught.value.problems) == 4


def differ(rank: int) -> str:
    return error_of(lambda: join(timeout=60, replicas=1 + rank % 2, facts={"distributed.queue": str(rank // 2)}).__enter__())


def test_what_differs_is_said_before_the_mesh_is_made() -> None:
    for error in in_workers(differ, 4):
        assert error.startswith("ConfigError: 2 problems")
        assert "differ in distributed.replicas: 1 on 0, 2; 2 on 1, 3;" in error
        assert "differ in distributed.queue: 0 on 0, 1; 1 on 2, 3;" in error


def meet_a_stranger(rank: int) -> str:
    with socket.socket() as stranger:
        stranger.bind(("localhost", 0))
        stranger.listen()
        os.environ |= {"MASTER_PORT": str(stranger.getsockname()[1]), "TORCHELASTIC_USE_AGENT_STORE": "False"}
        return error_of(lambda: join(timeout=1).__enter__())


def test_a_port_in_use_ends_every_worker() -> None:
    for rank, error in enumerate(in_workers(meet_a_stranger, 2)):
        assert error.startswith(f"WorkerError: worker {rank} of 2 ")
        assert "cannot join the job at localhost:" in error


def claim(rank: int) -> list[bool]:
    with join(timeout=60) as world:
        errors = (
            ConfigError(["no"]),
            WorkerError(f"worker {rank} waited"),
            PeerLostError("read its error"),
            DataError(f"row {rank}"),
        )
        said = [speaks(error) for error in errors]
        world.gather(None)
        return said


def test_every_error_is_said_once() -> None:
    config, worker, peer, data = zip(*in_workers(claim, 2), strict=True)
    assert (sum(config), sum(worker), sum(peer), sum(data)) == (1, 1, 0, 2)


@pytest.mark.parametrize("replicas", [0, 2])
def test_an_uneven_mesh_is_refused(monkeypatch: pytest.MonkeyPatch, replicas: int) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "3"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(ConfigError, match=f"3 workers do not make a mesh with distributed.replicas = {replicas}"),
        join(replicas=replicas),
    ):
        pass
