"""What N workers write, M workers read, and one process; and what is damaged nobody reads."""

import resource
import shutil
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from tests.distributed.networks import adam, alone, assert_equal, batches, crossing_cascade, pipelined, trained
from tests.distributed.workers import error_of, in_workers
from torch import Tensor

from torchsid import durable
from torchsid.distributed.pipeline import PipelinedSID
from torchsid.distributed.world import World, join
from torchsid.learners.sid import SID
from torchsid.training import RunDirectory, checkpoint, resolve, session
from torchsid.training.config import config_sha256

STATE = {"step": 3, "loss": 0.1 + 0.2}


def learner_of(world: World | None, seed: int = 1) -> SID | PipelinedSID:
    """An untrained learner that shares no weight with the trained one."""
    cascade = crossing_cascade()
    with torch.no_grad():
        for parameter in cascade.parameters():
            parameter.add_(seed)
    return pipelined(cascade, world, adam) if world else alone(cascade, adam)


def tensors(learner: SID | PipelinedSID) -> dict[str, Tensor]:
    """Weights, statistics and the optimiser's moments, by name."""
    assert learner.optimizer is not None
    moments = {
        f"{key}:{name}": value
        for name, parameter in learner.module.named_parameters()
        for key, value in learner.optimizer.state[parameter].items()
    }
    return {**learner.module.state_dict(), **moments}


def one_process() -> dict[str, Tensor]:
    learner = alone(crossing_cascade(), adam)
    trained(learner, batches())
    return tensors(learner)


def write(rank: int, path: Path, replicas: int = 1, quiet: bool = False) -> None:
    """Train and save twice; the first time after no step."""
    with join(timeout=60, replicas=replicas) as world:
        learner = pipelined(crossing_cascade(quiet=quiet), world, adam)
        checkpoint.save(path, learner, learner.optimizer, {"step": 0}, config_sha256="abc", world=world)
        trained(learner, batches())
        learner.flush()
        state = STATE if world.leads else {"of": "another worker"}
        checkpoint.save(path, learner, learner.optimizer, state, config_sha256="abc", world=world)


def read(rank: int, path: Path) -> dict[str, Any]:
    with join(timeout=60) as world:
        learner = learner_of(world)
        state = checkpoint.load(path, learner, learner.optimizer, config_sha256="abc", world=world)
        world.gather(None)
        return {"state": state, **tensors(learner)}


def read_alone(path: Path) -> dict[str, Tensor]:
    learner = learner_of(None)
    assert checkpoint.load(path, learner, learner.optimizer, config_sha256="abc") == STATE
    return tensors(learner)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint of two workers and of the one before it."""
    folder = tmp_path_factory.mktemp("written")
    in_workers(partial(write, path=folder / "last"), 2)
    return folder


@pytest.fixture
def saved(written: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "last"


def test_another_number_of_workers_goes_on(saved: Path) -> None:
    expected = one_process()
    for size in (2, 3):
        workers = in_workers(partial(read, path=saved), size)
        assert [worker.pop("state") for worker in workers] == size * [STATE]
        assert_equal({name: value for worker in workers for name, value in worker.items()}, expected)
    assert_equal(read_alone(saved), expected)


def test_workers_go_on_from_what_one_process_wrote(tmp_path: Path) -> None:
    learner = alone(crossing_cascade(), adam)
    trained(learner, batches())
    checkpoint.save(tmp_path / "last", learner, learner.optimizer, STATE, config_sha256="abc")
    workers = in_workers(partial(read, path=tmp_path / "last"), 2)
    assert [worker.pop("state") for worker in workers] == 2 * [STATE]
    assert_equal(workers[0] | workers[1], tensors(learner))


def test_one_replica_of_each_stage_writes(tmp_path: Path) -> None:
    in_workers(partial(write, path=tmp_path / "last", replicas=2, quiet=True), 4)
    names = [name for file in (tmp_path / "last").glob("*.safetensors") for name in safetensors.torch.load_file(file)]
    expected = tensors(learner := alone(crossing_cascade(quiet=True), adam)) | dict(learner.module.state_dict())
    weights = sorted(name for name in names if ":" not in name and name != "log_prior")
    assert weights == sorted(expected.keys() - {"log_prior"})


def test_consolidated_it_is_what_one_process_writes(saved: Path, tmp_path: Path) -> None:
    learner = alone(crossing_cascade(), adam)
    trained(learner, batches())
    checkpoint.save(tmp_path / "single", learner, learner.optimizer, STATE, config_sha256="abc")
    assert {path.name for path in tmp_path.iterdir()} == {"last", "last-previous", "single"}
    for _ in range(2):  # to do it again changes nothing
        checkpoint.consolidate(saved)
        for name in ("model.safetensors", "optimizer.safetensors"):
            assert_equal(safetensors.torch.load_file(saved / name), safetensors.torch.load_file(tmp_path / "single" / name))
    assert {path.name for path in saved.iterdir()} == {path.name for path in (tmp_path / "single").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"last", "single"}
    assert_equal(read_alone(saved), one_process())


def refused(rank: int, path: Path) -> str:
    with join(timeout=60) as world:
        learner = learner_of(world)
        before = {name: value.clone() for name, value in learner.module.state_dict().items()}
        error = error_of(partial(checkpoint.load, path, learner, learner.optimizer, config_sha256="abc", world=world))
        assert_equal(dict(learner.module.state_dict()), before)
        world.gather(None)
        return error


@pytest.mark.parametrize("damage", ["cut", "change", "remove"])
def test_a_damaged_shard_is_named_on_every_worker(saved: Path, damage: str) -> None:
    shards = sorted(saved.glob("*.safetensors"))
    assert len(shards) == 2
    for shard in shards:
        content = shard.read_bytes()
        match damage:
            case "cut":
                shard.write_bytes(content[: len(content) // 2])
            case "change":
                shard.write_bytes(content[:-9] + bytes(255 - byte for byte in content[-9:]))
            case "remove":
                shard.unlink()
    for error in in_workers(partial(refused, path=saved), 2):
        assert error.startswith("CheckpointError: ")
        assert all(str(shard) in error for shard in shards)
        assert "start a new run" in error
    assert "CheckpointError" in error_of(lambda: read_alone(saved))


def test_a_checkpoint_under_way_is_not_read(saved: Path) -> None:
    """All were killed while they wrote the next one."""
    half = saved.with_name(".last.new")
    shutil.copytree(saved, half)
    (half / "state.json").unlink()
    assert_equal(read_alone(saved), one_process())
    workers = in_workers(partial(read, path=saved), 2)
    assert [worker.pop("state") for worker in workers] == 2 * [STATE]
    in_workers(partial(write, path=saved), 2)
    assert {path.name for path in saved.parent.iterdir()} == {"last", "last-previous"}


def save_on_a_full_disk(rank: int, path: Path, full: int) -> str:
    with join(timeout=60) as world:
        learner = pipelined(crossing_cascade(), world, adam)
        if rank == full:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        save = partial(checkpoint.save, path, learner, learner.optimizer, {}, config_sha256="abc", world=world)
        error = error_of(save)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        world.gather(None)
        return error


@pytest.mark.parametrize("full", [0, 1])
def test_a_disk_that_is_full_on_one_worker_ends_all_and_spares_the_checkpoint(saved: Path, full: int) -> None:
    for error in in_workers(partial(save_on_a_full_disk, path=saved, full=full), 2):
        assert error.startswith("RunError: cannot write")
        assert "File too large" in error
    assert_equal(read_alone(saved), one_process())
    assert {path.name for path in saved.parent.iterdir()} == {"last", "last-previous"}


def restore(rank: int, run: Path) -> dict[str, Any]:
    """Save twice, lose a shard of the last, and go on."""
    config = resolve("digits-staged")
    with join(timeout=60) as world:
        learner, warnings = pipelined(crossing_cascade(), world, adam), []
        last = RunDirectory(run).checkpoint("last")
        for step in (1, 2):
            save = partial(checkpoint.save, last, learner, learner.optimizer, {"step": step}, world=world)
            save(config_sha256=config_sha256(config))
            trained(learner, batches())
        learner.flush()
        world.on_lead(lambda: min(last.glob("*.safetensors")).unlink())
        reporter = SimpleNamespace(warning=warnings.append)
        of_data = SimpleNamespace(state=dict, renewed=list)  # which hold nothing
        setup = SimpleNamespace(learner=learner, optimizer=learner.optimizer, config=config, world=world, batches=of_data)
        state = session.restore(RunDirectory(run), setup, reporter)
        world.on_lead(lambda: min(durable.previous(last).glob("*.safetensors")).unlink())
        error = error_of(lambda: session.restore(RunDirectory(run), setup, reporter))
        world.gather(None)
        return {"state": state, "warnings": warnings, "error": error, **learner.module.state_dict()}


def test_when_the_last_is_damaged_all_go_on_from_the_one_before(tmp_path: Path) -> None:
    workers = in_workers(partial(restore, run=tmp_path), 2)
    for worker in workers:
        assert worker.pop("state") == {"step": 1}
        first, second = worker.pop("warnings")
        assert first == second
        assert "checkpoints/last/" in first
        assert "Going on from the checkpoint before it" in first
        assert "last-previous" in worker.pop("error")
    assert_equal(workers[0] | workers[1], dict(crossing_cascade().state_dict()))
