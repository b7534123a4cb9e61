"""From a configuration to a network with its learner, on a device."""

import torch
from torch import nn

from torchsid import models
from torchsid.cascade import Cascade, shared_cascade
from torchsid.errors import ConfigError
from torchsid.learners.backprop import Backprop
from torchsid.learners.protocol import Learner
from torchsid.learners.sid import SID
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


def build_network(config: RunConfig, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """Return the untrained network; its weights follow from the global random number generator."""
    model = config.model
    extractor = models.create(model.extractor, in_channels=channels, image_size=image_size, feature_dim=model.feature_dim)
    if model.network == "plain":
        return nn.Sequential(extractor, nn.Linear(model.feature_dim, num_classes))
    return shared_cascade(
        extractor, num_classes, model.depth, hidden=model.hidden, stage=model.stage, feature_dim=model.feature_dim
    )


def build_learner(module: nn.Module, config: RunConfig) -> Learner:
    """Return the network together with its training method."""
    learner = config.learner
    if learner.name == "backprop":
        return Backprop(module, label_smoothing=learner.label_smoothing)
    assert isinstance(module, Cascade)  # RunConfig refuses SID on anything else
    return SID(
        module,
        alpha=learner.alpha,
        direction=learner.direction,
        label_smoothing=learner.label_smoothing,
        schedule=learner.schedule,
        combine=learner.combine,
    )


def place(module: nn.Module, config: RunConfig, device: torch.device) -> nn.Module:
    """Move the network to the device and into the configured memory format, compile it if asked to, and return it.

    Compilation is in place and part by part, because the schedules call extractor and stages one by one; the names of the
    weights stay the same.
    """
    module.to(device)
    if config.training.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.training.compile:
        parts = [module.extractor, *module.stages] if isinstance(module, Cascade) else [module]
        for part in parts:
            part.compile()
    return module
