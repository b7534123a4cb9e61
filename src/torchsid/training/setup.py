"""From a configuration to a task, a network, a learner and an optimiser, on a device; nothing is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from torchsid.core.learner import Learner
from torchsid.core.shared import SharedCascade
from torchsid.core.side_effects import threads, without_side_effects
from torchsid.core.staged import StagedCascade
from torchsid.errors import ConfigError
from torchsid.settings import build
from torchsid.tasks.domain import About, Splits, Task
from torchsid.training.batches import Batches
from torchsid.training.config import CHOICES, RunConfig
from torchsid.training.optimization import build_optimizer

if TYPE_CHECKING:
    from torchsid.distributed.world import World

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Data, network and optimiser of a run."""

    config: RunConfig
    device: torch.device
    splits: Splits
    batches: Batches
    learner: Learner
    optimizer: Optimizer
    world: "World | None" = None
    """This worker's place among several; None in one process."""

    @property
    def leads(self) -> bool:
        """Whether this process writes the run."""
        return self.world is None or self.world.leads

    def from_lead(self, value: T) -> T:
        """Return on every worker what the lead passes."""
        return self.world.on_lead(lambda: value) if self.world else value


def set_up(config: RunConfig, device: torch.device, *, cut_by_graph: bool = False) -> Setup:
    """Load the data and build the untrained network; `cut_by_graph` makes modules of its stages, whatever `model.by` says.

    Raises:
        DataError: the data are missing, damaged, or do not fit.
        ConfigError: the network cannot read such samples, or cannot be cut as the configuration asks.
    """
    task = build_task(config)
    splits = task.load(config.training.seed)
    torch.manual_seed(config.training.seed)
    built = config
    if cut_by_graph and hasattr(config.model, "by"):
        built = replace(config, model=replace(config.model, by="graph"))
    module = place(build_network(built, task, splits.about), built, task, device)
    optimizer = build_optimizer(module, config.optimizer)
    learner, batches = build_learner(module, config), Batches(task, splits, config.training, device)
    with without_side_effects(module):
        module.eval()
        answer = learner.log_beliefs(batches.first(2).x).shape[2:]
    learner.prepare_training(samples=len(splits.train), epochs=config.training.epochs, optimizer=optimizer, answer=answer)
    return Setup(config=config, device=device, splits=splits, batches=batches, learner=learner, optimizer=optimizer)


@contextmanager
def torch_settings(config: RunConfig) -> Iterator[torch.device]:
    """Choose the device and set the threads; on exit threads and random number generators are as before.

    Raises:
        ConfigError: CUDA is asked for and there is none.
    """
    device = choose_device(config.training.device)
    forked = torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])
    with threads(config.training.threads or torch.get_num_threads()), forked:
        yield device


def choose_device(name: str) -> torch.device:
    """Return the device that `training.device` asks for.

    Raises:
        ConfigError: CUDA is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(["training.device = 'cuda', but PyTorch sees no CUDA device: set training.device to 'cpu' or 'auto'"])
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def build_task(config: RunConfig) -> Task:
    """Return the domain with its settings.

    Raises:
        ConfigError: its settings do not fit.
    """
    task: Task = _make("data", config)
    return task


def build_network(config: RunConfig, task: Task, about: About) -> nn.Module:
    """Return the untrained network; its weights follow from the global random number generator.

    Raises:
        ConfigError: the network cannot read such samples, or cannot be cut so.
    """
    module: nn.Module = _make("model", config, task.example(about), about["num_classes"], task.positions)
    return module


def build_learner(module: nn.Module, config: RunConfig) -> Learner:
    """Return the network together with its training method.

    Raises:
        ConfigError: the method cannot train this network.
    """
    learner: Learner = _make("learner", config, module)
    return learner


def _make(section: str, config: RunConfig, *arguments: Any) -> Any:
    """Return what a section chooses, made with its settings; what it refuses is a problem of the configuration."""
    settings, choice = vars(getattr(config, section)), CHOICES[section]
    try:
        return build(choice.chosen(settings, config.task), settings, *arguments)
    except ValueError as error:
        setting = f"{section}.{choice.key} = {settings[choice.key]!r}: " if choice.key else f"{section}."
        raise ConfigError([setting + problem for problem in getattr(error, "problems", [str(error)])]) from None


def place(module: nn.Module, config: RunConfig, task: Task, device: torch.device) -> nn.Module:
    """Move the network to the device and into the task's memory format, compile it if asked to, and return it.

    Compilation is in place and part by part, because the schedules call extractor, stages and heads one by one; the names of
    the weights stay the same.
    """
    module.to(device)
    if task.memory_format != torch.contiguous_format:
        module.to(memory_format=task.memory_format)  # type: ignore[call-overload]
    if config.training.compile and isinstance(module, StagedCascade):
        module.compile_stages()
    elif config.training.compile:
        for part in (module.extractor, *module.stages) if isinstance(module, SharedCascade) else (module,):
            part.compile()
    return module
