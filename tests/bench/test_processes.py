import os

import pytest
from tests.distributed.workers import ready

from torchsid.bench import processes
from torchsid.bench.processes import in_fresh_processes, ready_server
from torchsid.bench.workload import Workload
from torchsid.distributed.world import join
from torchsid.errors import DataError, RunError

MLP = Workload(model="mlp", stages=(2,), width=32, batch_size=8, image_size=4)


FORKED = ready_server(__name__)


def gather(workload: Workload) -> list[str]:
    with join() as world:
        return world.gather(f"{workload.model} {world.rank} {os.getpid()}")


def find_nothing() -> None:
    raise DataError("no files; looked for:\n  - a\n  - b")


def test_workers_find_each_other() -> None:
    ready()
    first, second = in_fresh_processes(gather, MLP, workers=2, method=FORKED)
    assert (first.split()[:2], second.split()[:2]) == (["mlp", "0"], ["mlp", "1"])
    assert len({first.split()[2], second.split()[2], str(os.getpid())}) == 3


@pytest.mark.parametrize("method", ["spawn", FORKED])
def test_the_error_of_a_process_is_told(method: str) -> None:
    ready()
    with pytest.raises(RunError, match=r"process 0 failed: torchsid.errors.DataError: no files; looked for:\n  - a\n  - b$"):
        in_fresh_processes(find_nothing, method=method)


def test_an_error_without_a_module_is_told_too() -> None:
    ready()
    with pytest.raises(RunError, match="process 0 failed: ValueError: invalid literal for int"):
        in_fresh_processes(int, "no number", method=FORKED)


def test_a_launchers_process_is_known_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not processes.launched()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes.launched()
    assert processes.problems(2) == []
    assert "the launcher started 2 processes" in processes.problems(3)[0]
