"""Spread a set-up over the workers of a job: from the whole network in every process to each with its own stages."""

import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from torchsid import __version__
from torchsid.core.staged import StagedCascade
from torchsid.distributed.launcher import launched
from torchsid.errors import ConfigError
from torchsid.learners.sid import SID
from torchsid.tasks.domain import PARTS
from torchsid.training.config import CHOICES, RunConfig, config_sha256
from torchsid.training.setup import Setup, build_optimizer, choose_device, updates_at_once

if TYPE_CHECKING:
    from torchsid.distributed.world import World

T = TypeVar("T")


def writes(config: RunConfig) -> bool:
    """Return whether this process writes the run: the only one, or of several the first replica of the last stage."""
    worker = launched()
    return worker is None or worker.rank == worker.size - config.distributed.replicas


def on_lead(world: "World | None", function: Callable[[], T]) -> T:
    """Return what the function gives on the worker that writes the run; it is called there alone, and so are its errors raised."""
    return world.on_lead(function) if world else function()


@contextmanager
def workers(config: RunConfig) -> Iterator["World | None"]:
    """Meet the other workers that `torchrun` started; None in a single process.

    A run that cannot be spread over so many, or workers that differ in code or configuration, are a ConfigError; others that cannot
    be reached a WorkerError.
    """
    worker, distributed = launched(), config.distributed
    if worker is None:
        yield None
        return
    if found := list(problems(config, worker.size // distributed.replicas)):
        raise ConfigError(found, source="distributed job")
    from torchsid.distributed.world import join

    device = choose_device(config.training.device)
    if device.type == "cuda":
        device = torch.device("cuda", worker.local_rank % torch.cuda.device_count())
    facts = {
        "torchsid": __version__,
        "source code": _source_sha256(),
        "torch": torch.__version__,
        "configuration": config_sha256(config),
        **{f"distributed.{name}": str(value) for name, value in asdict(distributed).items()},
    }
    with join(replicas=distributed.replicas, device=device, timeout=distributed.timeout, facts=facts) as world:
        yield world


def problems(config: RunConfig, positions: int) -> Iterator[str]:
    """Yield why a configuration cannot be spread over so many positions, each a worker with its replicas."""
    learner, distributed = config.learner, config.distributed
    if not CHOICES["learner"].makes(vars(learner), config.task).runs_on_workers:  # type: ignore[attr-defined]
        way_out = "many workers train SID on a network with stages; start it without torchrun, or choose another recipe"
        yield f"learner.name = {learner.name!r} trains in one process: {way_out}"
        return  # the rest asks for settings that it need not have
    from torchsid.distributed.assign import problems as of_workers

    if CHOICES["data"].makes(vars(config.data), config.task).collects:  # type: ignore[attr-defined]
        why = "learns from samples that the whole network brings about, which no worker has"
        yield f"task = {config.task!r} {why}: start it without torchrun"
    network = CHOICES["model"].makes(vars(config.model), config.task)
    settings = {name: getattr(distributed, name) for name in ("replicas", "micro_batches", "staleness")}
    yield from of_workers(learner, network, config.model.depth, positions, **settings)
    yield from updates_at_once(config, "many workers update")


def spread(setup: Setup, world: "World") -> tuple[Setup, list[dict[str, Any]]]:
    """Return the set-up with this worker's part alone, and what each worker has: its host, its stages (from 1) and its replica.

    Every worker calls it with the same network. Where they differ in the data, that is a ConfigError; where the network cannot be
    spread, a CutError.
    """
    from torchsid.distributed.assign import stage_seconds
    from torchsid.distributed.pipeline import PipelinedSID

    config, distributed = setup.config, setup.config.distributed
    world.check_agreement({"data": repr(dict(setup.splits.fingerprint))})
    cascade, batches = setup.learner.module, setup.batches
    batch = batches.first(batches.largest)

    def seconds() -> list[float] | None:
        """What each stage costs on this machine; those of a shared cascade are alike."""
        with setup.autocast():
            return stage_seconds(cascade, batch.x, batch.target) if isinstance(cascade, StagedCascade) else None

    learner = PipelinedSID(
        cast(SID, setup.learner),
        world,
        optimizer=lambda module: build_optimizer(module, config.optimizer),
        batch_size=batches.largest,
        example=batch.x[:2],
        seconds=world.on_lead(seconds),
        micro_batches=distributed.micro_batches,
        wire=distributed.wire,
        queue=distributed.queue,
        staleness=distributed.staleness,
    )
    own, about = learner.assignment[world.position], {"rank": world.rank, "host": socket.gethostname(), "replica": world.replica}
    everyone = world.gather({**about, "stages": [stage + 1 for stage in own], "extractor": not own})
    if world.is_first and world.replicas > 1:
        # A sample that is blended with one of another replica needs that one's inputs as well.
        parts = PARTS[batches.task.blends_samples :]
        batches = replace(batches, splits=batches.splits.of_worker(learner.own_rows, parts))
    return replace(setup, batches=batches, learner=learner, optimizer=learner.optimizer, pipeline=learner, world=world), everyone


def _source_sha256() -> str:
    """Return a checksum of the package's own files."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
