"""The optimiser, and the learning rate as a function of the step."""

import math

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from torchsid.core.staged import StagedCascade
from torchsid.training.config import OptimizerConfig

_FIRST_SHARE = 1 / 25  # one-cycle starts here, as in Smith and Topin (arXiv 1708.07120) and torch.optim.lr_scheduler.OneCycleLR,
_LAST_SHARE = 1 / 250_000  # and ends here; both are shares of the peak


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Return the optimiser over all parameters of the module, in the fused form where the device has one.

    Its groups differ in weight decay and learning rate; `rate_factor` is a group's multiple of the learning rate.
    """
    heads = set(module.heads.parameters()) if isinstance(module, StagedCascade) else set()
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        factor = config.head_learning_rate if parameter in heads else 1.0
        decays = config.weight_decay_on == "all" or parameter.dim() > 1
        members.setdefault((factor, config.weight_decay if decays else 0.0), []).append(parameter)
    groups = [
        {"params": parameters, "lr": config.learning_rate * factor, "weight_decay": decay, "rate_factor": factor}
        for (factor, decay), parameters in members.items()
    ]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in module.parameters())
    match config.name:
        case "adam":
            return Adam(groups, fused=fused)
        case "adamw":
            return AdamW(groups, fused=fused)
        case "sgd":
            return SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.nesterov, fused=fused)


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Return the learning rate of step `step` (counted from 0) of a run of `steps` steps.

    constant and cosine rise in a straight line over the warm-up: `peak · (step + 1) / warm-up steps`; cosine then falls as
    `peak · (1 + cos π t) / 2` with t from 0 to 1. one-cycle anneals up from peak/25 and down to peak/250,000, both as cosines.
    """
    peak, last = config.learning_rate, steps - 1
    if config.schedule == "one-cycle":
        top = config.warmup * steps - 1  # the step of the peak; a fraction, as in OneCycleLR
        if step <= top:
            return _anneal(peak * _FIRST_SHARE, peak, step / top if top else 1.0)
        return _anneal(peak, peak * _LAST_SHARE, (step - top) / (last - top))
    warmup = round(config.warmup * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if config.schedule == "cosine":
        return _anneal(peak, 0.0, (step - warmup) / max(steps - warmup, 1))
    return peak


def _anneal(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate; every parameter group keeps its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)
