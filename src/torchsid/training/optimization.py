"""The optimiser, and the learning rate as a function of the step."""

import math

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from torchsid.training.config import OptimizerConfig

_FIRST_SHARE = 1 / 25  # one-cycle starts here, as in Smith and Topin (arXiv 1708.07120) and torch.optim.lr_scheduler.OneCycleLR,
_LAST_SHARE = 1 / 250_000  # and ends here; both are shares of the peak


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Return the optimiser over all parameters of the module, in the fused form where the device has one."""
    parameters = list(module.parameters())
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    match config.name:
        case "adam":
            return Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)
        case "adamw":
            return AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)
        case "sgd":
            return SGD(
                parameters,
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                momentum=config.momentum,
                nesterov=config.nesterov,
                fused=fused,
            )


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


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def gradient_norm(module: nn.Module, *, clip: float = 0.0) -> torch.Tensor:
    """Return the Euclidean norm of the whole gradient, a scalar; with `clip` above 0 scale the gradient down to that norm."""
    parameters = [parameter for parameter in module.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if clip > 0:
        nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    return norm


def _anneal(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
