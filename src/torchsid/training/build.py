"""From a configuration to a network with its learner, on a device."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid import models
from torchsid.core.beliefs import forward_kl
from torchsid.core.cascade import Cascade, shared_cascade
from torchsid.core.learner import Learner
from torchsid.core.staged import StagedCascade
from torchsid.cut.build import staged_cascade
from torchsid.errors import ConfigError, CutError, HeadError
from torchsid.learners.backprop import Backprop, Loss
from torchsid.learners.deep_supervision import DeepSupervision
from torchsid.learners.elr import ELR
from torchsid.learners.memory import BeliefMemory
from torchsid.learners.predictions import PredictionMemory
from torchsid.learners.robust import generalized_cross_entropy, hard_bootstrap, soft_bootstrap, symmetric_cross_entropy
from torchsid.learners.self_distillation import SelfDistillation
from torchsid.learners.sid import SID
from torchsid.training.config import ModelConfig, RunConfig
from torchsid.training.objective import objective_in


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
    """Return the untrained network; its weights follow from the global random number generator.

    Raises:
        ConfigError: the network cannot take such images, or cannot be cut so.
    """
    model = config.model
    if model.trunk:
        trunk = models.classifier(
            model.trunk, num_classes=num_classes, in_channels=channels, image_size=image_size, width=model.width or None
        )
        if model.network == "plain":
            return trunk
        return _cut(trunk, model, num_classes, torch.zeros(2, channels, image_size, image_size))
    extractor = models.create(model.extractor, in_channels=channels, image_size=image_size, feature_dim=model.feature_dim)
    if model.network == "plain":
        return nn.Sequential(extractor, nn.Linear(model.feature_dim, num_classes))
    return shared_cascade(
        extractor,
        num_classes,
        model.depth,
        hidden=model.hidden,
        stage=model.stage,
        init=model.init,
        feature_dim=model.feature_dim,
    )


def _cut(trunk: nn.Module, model: ModelConfig, num_classes: int, example: Tensor) -> StagedCascade:
    try:
        return staged_cascade(
            trunk,
            num_classes,
            model.cuts or model.depth,
            example,
            balance=model.balance,
            by=model.by,
            head=model.head,
            residual=model.stage == "residual",
            max_head_share=model.max_head_share,
        )
    except CutError as error:
        where = "model.depth, model.cuts and model.by say where it is cut"
        raise ConfigError([f"model.trunk = {model.trunk!r}: {error} ({where})"]) from None
    except HeadError as error:
        raise ConfigError([f"model.head = {model.head!r} does not fit model.trunk = {model.trunk!r}: {error}"]) from None


def build_learner(
    module: nn.Module, config: RunConfig, optimizer: Optimizer | None = None, *, samples: int = 0, num_classes: int = 0
) -> Learner:
    """Return the network together with its training method.

    To train, some need the optimiser, or the numbers of training samples and classes for what they remember.
    """
    learner = config.learner
    if learner.name != "sid":
        return _end_to_end(module, config, samples, num_classes)
    assert isinstance(module, Cascade | StagedCascade)  # RunConfig refuses SID on anything else
    objective = objective_in(config, config.training.epochs)  # that of the finished network; training sets each epoch's
    return SID(
        module,
        alpha=objective.alpha,
        direction=objective.direction,
        label_smoothing=objective.label_smoothing,
        temperature=objective.temperature,
        schedule=learner.schedule,
        combine=learner.combine,
        window=learner.window,
        optimizer=optimizer if learner.update == "stage" else None,
        memory=BeliefMemory(samples, module.depth, module.log_prior) if learner.teachers == "last-epoch" else None,
    )


def _end_to_end(module: nn.Module, config: RunConfig, samples: int, num_classes: int) -> Backprop:
    learner, robust = config.learner, config.learner.robust
    smoothing = learner.label_smoothing
    if learner.name == "deep-supervision":
        return DeepSupervision(module, label_smoothing=smoothing)
    if learner.name in ("self-distillation", "elr"):
        memory = PredictionMemory(samples, num_classes, device=next(module.parameters()).device)
        if learner.name == "elr":
            return ELR(module, memory=memory, strength=robust.elr_lambda, beta=robust.elr_beta, label_smoothing=smoothing)
        alpha, epochs = robust.self_distillation_alpha, config.training.epochs
        return SelfDistillation(module, memory=memory, alpha=alpha, epochs=epochs, label_smoothing=smoothing)
    losses: dict[str, Loss] = {
        "backprop": forward_kl,
        "soft-bootstrap": partial(soft_bootstrap, beta=robust.soft_bootstrap_beta),
        "hard-bootstrap": partial(hard_bootstrap, beta=robust.hard_bootstrap_beta),
        "gce": partial(generalized_cross_entropy, q=robust.gce_q),
        "sce": partial(symmetric_cross_entropy, alpha=robust.sce_alpha, beta=robust.sce_beta),
    }
    return Backprop(module, label_smoothing=smoothing, loss=losses[learner.name])


def place(module: nn.Module, config: RunConfig, device: torch.device) -> nn.Module:
    """Move the network to the device and into the configured memory format, compile it if asked to, and return it.

    Compilation is in place and part by part, because the schedules call extractor, stages and heads one by one; the names of
    the weights stay the same.
    """
    module.to(device)
    if config.training.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.training.compile:
        _compile(module)
    return module


def _compile(module: nn.Module) -> None:
    if isinstance(module, StagedCascade):
        module.compile_stages()
        return
    for part in (module.extractor, *module.stages) if isinstance(module, Cascade) else (module,):
        part.compile()
