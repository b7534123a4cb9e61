import pytest
from tests.distributed.workers import error_of, in_workers

from torchsid.distributed.world import join
from torchsid.errors import ConfigError


def place(rank: int) -> list[object]:
    with join(replicas=2, timeout=60) as world:
        forward = world.neighbour(1) if not world.is_last else None
        at = [world.position, world.replica, world.is_first, world.is_last, world.leads, forward]
        return [*at, world.on_lead(lambda: world.rank), world.from_lead(10 * world.rank), world.gather(rank)]


def test_workers_form_a_mesh() -> None:
    everyone = [0, 1, 2, 3]
    assert in_workers(place, 4) == [
        [0, 0, True, False, False, 2, None, 20, everyone],
        [0, 1, True, False, False, 3, None, 20, everyone],
        [1, 0, False, True, True, None, 2, 20, everyone],
        [1, 1, False, True, False, None, None, 20, everyone],
    ]


def refuse() -> None:
    raise OSError("no space")


def fail_on_lead(rank: int) -> list[str]:
    with join(timeout=60) as world:
        errors = [error_of(lambda: world.on_lead(refuse))]
        world.gather(None)
        return errors


def test_who_waits_for_the_lead_hears_that_it_failed() -> None:
    (first,), (lead,) = in_workers(fail_on_lead)
    assert lead == "OSError: no space"
    assert first == "PeerLostError: worker 1, which writes the run, failed: read that worker's error"


def test_without_a_launcher_nobody_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node") as caught, join():
        pass
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("replicas", [0, 2])
def test_an_uneven_mesh_is_refused(monkeypatch: pytest.MonkeyPatch, replicas: int) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "3"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(ConfigError, match=f"3 workers do not make a mesh with distributed.replicas = {replicas}"),
        join(replicas=replicas),
    ):
        pass
