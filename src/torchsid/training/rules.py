"""Settings of different sections that need or exclude each other; each problem names them and the way out."""

from collections.abc import Iterator
from dataclasses import asdict

from torchsid.core.learner import Learner
from torchsid.core.shared import SharedCascade
from torchsid.core.staged import StagedCascade
from torchsid.errors import ConfigError
from torchsid.training.config import CHOICES, OptimizerConfig, RunConfig
from torchsid.training.setup import build_task


def problems(config: RunConfig) -> list[str]:
    """Return what does not go together in a configuration whose values are each in range."""
    return [*_learner(config), *_optimizer(config.optimizer), *_network(config), *_watch(config)]


def _learner(config: RunConfig) -> Iterator[str]:
    """What the method says of its settings and of the network, and what it asks of the rest."""
    settings = asdict(config.learner)
    method = CHOICES["learner"].chosen(settings, config.task)
    if not (isinstance(method, type) and issubclass(method, Learner)):
        yield f"learner.name = {config.learner.name!r} is no training method: name a subclass of torchsid.core.learner.Learner"
        return
    network, depth = config.model.network, getattr(config.model, "depth", 1)
    for problem in method.problems(settings, network=network, depth=depth, epochs=config.training.epochs):
        yield f"learner.{problem}"
    if method.updates_at_once(settings):
        yield from updates_at_once(config, "learner.update = 'stage' changes")
    try:
        blends = build_task(config).blends_samples
    except ConfigError as error:
        yield from error.problems
        return
    if blends and method.needs_whole_samples:
        yield (
            f"learner.name = {config.learner.name!r} remembers what was predicted for each sample, but the augmentation in data "
            "blends two: switch that off, or choose another method"
        )


def updates_at_once(config: RunConfig, who: str) -> Iterator[str]:
    """Yield what does not go with stages that are updated one by one; `who` begins the sentence that says why they are."""
    why = f"{who} a stage before the others have their gradients"
    if config.optimizer.clip_gradient:
        yield f"{why}, so that optimizer.clip_gradient has no whole gradient to measure: set optimizer.clip_gradient = 0"
    if config.training.on_non_finite == "skip":
        yield f"{why}, so that no step can be undone: set training.on_non_finite = 'error' instead of 'skip'"


def _optimizer(optimizer: OptimizerConfig) -> Iterator[str]:
    if optimizer.name != "sgd" and (optimizer.momentum or optimizer.nesterov):
        yield f"optimizer.momentum and optimizer.nesterov belong to optimizer.name = 'sgd', not to {optimizer.name!r}"
    elif optimizer.nesterov and not optimizer.momentum:
        yield "optimizer.nesterov needs optimizer.momentum above 0 (0.9 is usual)"
    if optimizer.schedule == "one-cycle" and not optimizer.warmup:
        yield "optimizer.schedule = 'one-cycle' needs optimizer.warmup above 0 (0.3 is usual)"


def _network(config: RunConfig) -> Iterator[str]:
    kind = CHOICES["model"].makes(vars(config.model), config.task)
    staged = issubclass(kind, StagedCascade)
    if issubclass(kind, SharedCascade) and config.optimizer.head_learning_rate != 1:
        yield "optimizer.head_learning_rate is for the belief heads of model.network = 'staged': leave it out"
    if staged and config.training.compile and config.model.by != "graph":
        yield f"training.compile = true needs stages that are modules: set model.by = 'graph' instead of {config.model.by!r}"
    if staged and config.watch.conflict:
        yield "watch.conflict = true measures a shared extractor, which model.network = 'staged' has not: set it to false"


def _watch(config: RunConfig) -> Iterator[str]:
    if config.watch.on_no_descent == "stop" and not config.watch.certify:
        yield "watch.on_no_descent = 'stop' acts on what watch.certify measures: set watch.certify = true"
    if config.training.patience and not getattr(config.data, "validation", True):
        yield "training.patience needs validation samples: set data.validation above 0, or training.patience = 0"
