"""The processes of a job under `torchrun`: who this one is, and how it agrees with the others.

The workers form a mesh with two named axes: `stage`, along which beliefs and features travel in one direction, and `data`, along
which the replicas of a stage average their gradients. Worker `rank = stage · D + data`.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from torchsid.distributed.diagnosis import WAITING, explaining, leave_note, missing_backends, within
from torchsid.distributed.launcher import launched, missing
from torchsid.errors import ConfigError, PeerLostError, WorkerError

T = TypeVar("T")

_NO_FACTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class World:
    """This worker's place in the mesh. Made by `join`."""

    rank: int
    size: int
    mesh: DeviceMesh
    """Axes `stage` and `data`."""
    control: dist.ProcessGroup
    """Of all workers, on the CPU, apart from the training traffic: agreement, checkpoints."""
    store: Store
    """Notes of the workers, for diagnosis."""
    device: torch.device
    timeout: float
    """Seconds without a sign of a neighbour after which it is known to hang."""
    lost: list[WorkerError] = field(default_factory=list)
    """The error that ended the work with others, once there is one."""

    @property
    def patience(self) -> float:
        """Seconds of the timeout in which this worker waits; in the rest all say whether they do."""
        return WAITING * self.timeout

    @property
    def replicas(self) -> int:
        """The length D of the `data` axis."""
        return self.mesh["data"].size()

    @property
    def positions(self) -> int:
        """The length of the `stage` axis."""
        return self.mesh["stage"].size()

    @property
    def position(self) -> int:
        """Where on the `stage` axis this worker stands, from 0."""
        return self.mesh.get_local_rank("stage")

    @property
    def replica(self) -> int:
        """Where on the `data` axis this worker stands, from 0."""
        return self.mesh.get_local_rank("data")

    @property
    def is_first(self) -> bool:
        """Whether this worker reads the input."""
        return self.position == 0

    @property
    def is_last(self) -> bool:
        """Whether this worker has the last stage."""
        return self.position == self.positions - 1

    @property
    def lead(self) -> int:
        """The rank that writes the run: the first replica of the last stage, which sees every loss and every belief."""
        return (self.positions - 1) * self.replicas

    @property
    def leads(self) -> bool:
        """Whether this worker is the lead."""
        return self.rank == self.lead

    def neighbour(self, step: int) -> int:
        """Return the rank `step` positions further along the `stage` axis, of the same replica."""
        return self.rank + step * self.replicas

    def gather(self, value: T) -> list[T]:
        """Return every worker's value, by rank, on every worker."""
        values: list[T | None] = [None] * self.size
        with explaining(self, "an answer of all workers"):
            dist.all_gather_object(values, value, group=self.control)
        return values  # type: ignore[return-value]

    def on_lead(self, function: Callable[[], T]) -> T:
        """Return on every worker what a function gives on the lead, which alone calls it.

        Raises:
            PeerLostError: it raised on the lead, where its own error comes out.
        """
        answer: list[Any] = [False, None]  # whether it went well, and the value
        try:
            if self.leads:
                answer = [True, function()]
        except BaseException:
            with suppress(WorkerError):  # the first error is the one to show
                self._hear_lead(answer)
            raise
        self._hear_lead(answer)
        went_well, value = answer
        if not went_well:
            raise PeerLostError(f"worker {self.lead}, which writes the run, failed: read that worker's error")
        return value  # type: ignore[no-any-return]

    def _hear_lead(self, values: list[Any]) -> None:
        """Replace the values by the lead's."""
        with explaining(self, "the others to hear it" if self.leads else f"an answer of worker {self.lead}"):
            dist.broadcast_object_list(values, src=self.lead, group=self.control)

    def check_agreement(self, facts: Mapping[str, str]) -> None:
        """Compare what every worker says of itself.

        Raises:
            ConfigError: on every worker; names each fact in which workers differ, and who says what.
        """
        if problems := list(_differences(self.gather(dict(facts)))):
            raise ConfigError(problems, source="distributed job")


def _differences(everyone: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield each fact in which workers, by rank, differ, and who says what."""
    for name in dict.fromkeys(name for each in everyone for name in each):
        said: dict[str, list[str]] = {}
        for rank, each in enumerate(everyone):
            said.setdefault(each.get(name, "nothing"), []).append(str(rank))
        if len(said) > 1:
            who = "; ".join(f"{value[:20]} on {', '.join(ranks)}" for value, ranks in said.items())
            yield f"the workers differ in {name}: {who}; start all of them with the same"


@contextmanager
def join(
    *, replicas: int = 1, device: torch.device | None = None, timeout: float = 300.0, facts: Mapping[str, str] = _NO_FACTS
) -> Iterator[World]:
    """Meet the other workers of the job; on exit the connections are closed.

    Args:
        replicas: the length D of the `data` axis; it must divide the number of workers.
        device: of this worker's stages; the CPU by default.
        timeout: seconds without a sign of a neighbour after which it is known to hang.
        facts: what has to be the same on all workers, besides `replicas`; compared before anything depends on it.

    Raises:
        ConfigError: the launcher's environment is incomplete, the mesh is uneven, PyTorch lacks the backend, workers differ, or
            would share a CUDA device.
        WorkerError: the others did not come.
    """
    device = device or torch.device("cpu")
    launched()  # nonsense is named here
    if problems := _problems(replicas, device):
        raise ConfigError(problems, source="distributed job")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    patience = timedelta(seconds=WAITING * timeout)
    try:
        # The port may be another program's, which never answers.
        store, _, _ = within(timeout, lambda: next(iter(dist.rendezvous("env://", rank, size, timeout=patience))))  # type: ignore[attr-defined]
        # torchrun's static rendezvous keeps its store over a restart, and with it the addresses of the dead.
        store = dist.PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
        control = dist.new_group(backend="gloo", timeout=patience)
        everyone: list[Any] = [None] * size
        dist.all_gather_object(everyone, (_identity(device), {"distributed.replicas": str(replicas), **facts}), group=control)
        # Before the mesh, which would not come about; and before NCCL, which would fail by an assertion.
        if problems := [*_device_problems([each[0] for each in everyone]), *_differences([each[1] for each in everyone])]:
            dist.destroy_process_group()
            raise ConfigError(problems, source="distributed job")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        mesh = init_device_mesh(device.type, (size // replicas, replicas), mesh_dim_names=("stage", "data"))
        for axis in ("stage", "data"):  # the mesh gives its groups half an hour
            dist.distributed_c10d._set_pg_timeout(patience, mesh.get_group(axis))
    except (dist.DistError, RuntimeError, OSError) as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        why = str(error) or f"no answer in {timeout:g} s"
        raise WorkerError(f"worker {rank} of {size} ({socket.gethostname()}) cannot join the job at {address}: {why}") from None
    assert control is not None
    world = World(rank=rank, size=size, mesh=mesh, control=control, store=store, device=device, timeout=timeout)
    try:
        yield world
    except BaseException as error:
        if not world.lost:  # else the others know already
            leave_note(store, rank, error)
        raise
    finally:
        dist.destroy_process_group()


def _problems(replicas: int, device: torch.device) -> list[str]:
    found = list(missing())
    if not found and (replicas < 1 or int(os.environ["WORLD_SIZE"]) % replicas):
        found.append(
            f"{os.environ['WORLD_SIZE']} workers do not make a mesh with distributed.replicas = {replicas}: "
            "start a multiple of it, one worker for every position and replica"
        )
    return [*found, *missing_backends(device)]


def _identity(device: torch.device) -> str:
    """Return what tells a device from those of all machines; processors are not told apart."""
    return device.type if device.type == "cpu" else f"{device.type} {torch.cuda.get_device_properties(device).uuid}"


def _device_problems(devices: Sequence[str]) -> Iterator[str]:
    """Yield why workers with these devices, by rank, form no job: all are on processors, or each on a CUDA device of its own.

    >>> list(_device_problems(["cuda a", "cuda b"]))
    []
    """
    owners: dict[str, list[str]] = {}
    for rank, name in enumerate(devices):
        owners.setdefault(name, []).append(str(rank))
    processors = owners.pop("cpu", [])
    if processors and owners:
        who = f"worker{'s' if len(processors) > 1 else ''} {', '.join(processors)}"
        yield f"{who} would train on a processor, the others on CUDA: set training.device = 'cpu' for all"
    if shared := [f"workers {', '.join(ranks)} share one" for ranks in owners.values() if len(ranks) > 1]:
        yield (
            f"{len(devices)} workers, CUDA devices: {len(owners)} ({'; '.join(shared)}), but NCCL needs one for each worker: "
            f"start at most {len(owners)}, or set training.device = 'cpu'"
        )
