"""Spread a set-up over the workers of a job: from the whole network in every process to each with its own stages."""

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from torchsid import __version__
from torchsid.core.shared import SharedCascade
from torchsid.core.staged import StagedCascade
from torchsid.errors import ConfigError
from torchsid.training.build import Setup, choose_device
from torchsid.training.choices import CHOICES
from torchsid.training.config import RunConfig, config_sha256
from torchsid.training.interruption import PipelineLearner
from torchsid.training.optimization import autocast, build_optimizer

if TYPE_CHECKING:
    from torchsid.distributed.pipeline import PipelinedSID
    from torchsid.distributed.shared import SharedPipelinedSID
    from torchsid.distributed.world import World

T = TypeVar("T")


def started_as_worker() -> bool:
    """Return whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def writes(config: RunConfig) -> bool:
    """Return whether this process writes the run: the only one, or of several the first replica of the last stage."""
    return not started_as_worker() or int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - config.distributed.replicas


def was_restarted() -> bool:
    """Return whether the launcher has started the workers anew after one of them failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def on_lead(world: "World | None", function: Callable[[], T]) -> T:
    """Return what the function gives on the worker that writes the run; it is called there alone.

    Raises:
        PeerLostError: it raised there, where its own error comes out.
    """
    return world.from_lead(world.on_lead(function)) if world else function()  # type: ignore[return-value]


@contextmanager
def workers(config: RunConfig) -> Iterator["World | None"]:
    """Meet the other workers that `torchrun` started; None in a single process.

    Raises:
        ConfigError: the run cannot be spread, or not over so many workers.
        WorkerError: the others cannot be reached.
    """
    if not started_as_worker():
        yield None
        return
    if found := list(problems(config)):
        raise ConfigError(found, source="distributed job")
    from torchsid.distributed.world import join

    device = choose_device(config.training.device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    with join(replicas=config.distributed.replicas, device=device, timeout=config.distributed.timeout) as world:
        yield world


def problems(config: RunConfig) -> Iterator[str]:
    """Yield what of a configuration needs one process; nothing where it can be spread."""
    network, learner, distributed = config.model.network, config.learner, config.distributed
    if network == "plain" or not CHOICES["learner"].chosen(vars(learner), config.task).runs_on_workers:  # type: ignore[attr-defined]
        yield (
            f"learner.name = {learner.name!r} on model.network = {network!r} trains in one process: "
            "many workers train SID on a network with stages; start it without torchrun, or choose another recipe"
        )
        return  # the rest asks for settings that it need not have
    if network == "cascade" and distributed.replicas > 1:
        yield f"distributed.replicas = {distributed.replicas} is for staged networks: set it to 1 for model.network = 'cascade'"
    if network == "cascade" and distributed.micro_batches > 1:
        yield f"distributed.micro_batches = {distributed.micro_batches} is for staged networks: set it to 1"
    if network == "cascade" and learner.combine == "pcgrad":
        yield "learner.combine = 'pcgrad' needs the gradients of all stages in one place: set it to 'sum' or 'mean'"
    if network == "staged" and learner.teachers != "same-batch":
        yield (
            f"learner.teachers = {learner.teachers!r} spares no waiting on model.network = 'staged', "
            "whose stages wait for features: set it to 'same-batch'"
        )
    if network == "staged" and distributed.staleness:
        yield (
            f"distributed.staleness = {distributed.staleness} is for the extractor of model.network = 'cascade': "
            "stages of a staged network wait for no gradient, set it to 0"
        )
    if learner.window != 1:
        yield f"learner.window = {learner.window} sends gradients back over the cuts: set learner.window = 1"
    if config.optimizer.clip_gradient:
        yield (
            f"optimizer.clip_gradient = {config.optimizer.clip_gradient} needs the gradient of all stages before any is updated: "
            "set optimizer.clip_gradient = 0"
        )
    if config.training.on_non_finite == "skip":
        yield "training.on_non_finite = 'skip' would undo stages that are updated already: set training.on_non_finite = 'error'"


def spread(setup: Setup, world: "World") -> Setup:
    """Return the set-up with this worker's stages alone; every worker calls it with the same network.

    Raises:
        ConfigError: the workers differ in code, configuration or data; or there are more workers than stages.
        CutError: the network cannot be spread.
    """
    from torchsid.distributed.agreement import check_agreement

    config, cascade = setup.config, setup.learner.module
    assert isinstance(cascade, StagedCascade | SharedCascade)
    check_agreement(
        world,
        {
            "torchsid": __version__,
            "source code": _source_sha256(),
            "torch": torch.__version__,
            "configuration": config_sha256(config),
            "distributed settings": repr(config.distributed),
            "data": repr(dict(setup.splits.fingerprint)),
        },
    )
    learner = _staged(setup, cascade, world) if isinstance(cascade, StagedCascade) else _shared(setup, cascade, world)
    optimizer = learner.optimizer
    assert optimizer is not None
    return replace(setup, learner=learner, optimizer=optimizer, world=world)


def _staged(setup: Setup, cascade: StagedCascade, world: "World") -> "PipelinedSID":
    from torchsid.distributed.assign import stage_seconds
    from torchsid.distributed.pipeline import PipelinedSID

    config, learner = setup.config, setup.config.learner
    batch = next(setup.batches.epoch(1))
    with autocast(setup.device, config.training):
        seconds = stage_seconds(cascade, batch.x, batch.target) if world.rank == 0 else []
    return PipelinedSID(
        cascade,
        world,
        optimizer=lambda module: build_optimizer(module, config.optimizer),
        seconds=world.gather(seconds)[0],
        batch_size=config.training.batch_size,
        example=batch.x[:2],
        alpha=learner.alpha,
        direction=learner.direction,
        label_smoothing=learner.label_smoothing,
        temperature=learner.temperature,
        micro_batches=config.distributed.micro_batches,
        wire=config.distributed.wire,
        queue=config.distributed.queue,
    )


def _shared(setup: Setup, cascade: SharedCascade, world: "World") -> "SharedPipelinedSID":
    from torchsid.distributed.shared import SharedPipelinedSID

    config, learner = setup.config, setup.config.learner
    return SharedPipelinedSID(
        cascade,
        world,
        optimizer=lambda module: build_optimizer(module, config.optimizer),
        batch_size=config.training.batch_size,
        example=setup.batches.first(2).x,
        staleness=config.distributed.staleness,
        alpha=learner.alpha,
        direction=learner.direction,
        label_smoothing=learner.label_smoothing,
        temperature=learner.temperature,
        combine=learner.combine,
        remembers=len(setup.splits.train) if learner.teachers == "last-epoch" else 0,
        wire=config.distributed.wire,
        queue=config.distributed.queue,
    )


def who_does_what(setup: Setup, world: "World") -> list[dict[str, Any]]:
    """Return for every worker its host, its stages (from 1) and its replica; every worker calls it."""
    assert isinstance(setup.learner, PipelineLearner)
    own = setup.learner.assignment[world.position]
    about = {"rank": world.rank, "host": socket.gethostname(), "replica": world.replica}
    return world.gather({**about, "stages": [stage + 1 for stage in own], "extractor": not own})


def _source_sha256() -> str:
    """Return a checksum of the package's own files."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
