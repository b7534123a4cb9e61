"""From a configuration to a task, a network and a learner, on a device."""

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from torchsid.core.learner import Learner
from torchsid.core.shared import SharedCascade
from torchsid.core.staged import StagedCascade
from torchsid.errors import ConfigError
from torchsid.settings import build
from torchsid.tasks.domain import About, Task
from torchsid.training.choices import CHOICES
from torchsid.training.config import RunConfig


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
    try:
        task: Task = CHOICES["data"].chosen({}, config.task)(**vars(config.data))
    except ValueError as error:
        raise ConfigError([f"data.{error}"]) from None
    return task


def build_network(config: RunConfig, task: Task, about: About) -> nn.Module:
    """Return the untrained network; its weights follow from the global random number generator.

    Raises:
        ConfigError: the network cannot read such samples, or cannot be cut so.
    """
    settings = asdict(config.model)
    network = CHOICES["model"].chosen(settings, config.task)
    try:
        module: nn.Module = build(network, settings, task.example(about), about["num_classes"])
    except ConfigError as error:
        raise ConfigError([f"model: {problem}" for problem in error.problems]) from None
    except ValueError as error:
        raise ConfigError([f"model.network = {config.model.network!r}: {error}"]) from None
    return module


def build_learner(module: nn.Module, config: RunConfig) -> Learner:
    """Return the network together with its training method.

    Raises:
        ConfigError: the method cannot train this network.
    """
    settings: dict[str, Any] = asdict(config.learner)
    try:
        learner: Learner = build(CHOICES["learner"].chosen(settings, config.task), settings, module)
    except ValueError as error:
        raise ConfigError([f"learner.name = {config.learner.name!r}: {error}"]) from None
    return learner


def place(module: nn.Module, config: RunConfig, task: Task, device: torch.device) -> nn.Module:
    """Move the network to the device and into the task's memory format, compile it if asked to, and return it.

    Compilation is in place and part by part, because the schedules call extractor, stages and heads one by one; the names of
    the weights stay the same.
    """
    module.to(device)
    if task.memory_format != torch.contiguous_format:
        module.to(memory_format=task.memory_format)  # type: ignore[call-overload]
    if config.training.compile:
        _compile(module)
    return module


def _compile(module: nn.Module) -> None:
    if isinstance(module, StagedCascade):
        module.compile_stages()
        return
    for part in (module.extractor, *module.stages) if isinstance(module, SharedCascade) else (module,):
        part.compile()
