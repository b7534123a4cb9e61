"""From a configuration to a task, a network, a learner and an optimiser, on a device, and what does not go together in it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from torchsid.core.learner import Learner
from torchsid.core.shared import SharedCascade
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import StagedCascade
from torchsid.core.weighting import balanced
from torchsid.errors import ConfigError
from torchsid.settings import build
from torchsid.tasks.domain import About, Splits, Task
from torchsid.training.batches import Batches, on_device
from torchsid.training.config import CHOICES, OptimizerConfig, RunConfig

if TYPE_CHECKING:
    from torchsid.distributed.pipeline import PipelinedSID
    from torchsid.distributed.world import World


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Data, network and optimiser of a run."""

    config: RunConfig
    device: torch.device
    splits: Splits
    batches: Batches
    learner: Learner
    optimizer: Optimizer
    pipeline: "PipelinedSID | None" = None
    """The learner, where it is this worker's part among several."""
    world: "World | None" = None
    """This worker's place among them; None in one process."""

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.batches)

    @property
    def captures(self) -> bool:
        """Whether training steps are to be captured."""
        return self.config.training.capture != "off" and self.device.type == "cuda" and self.world is None

    def autocast(self) -> torch.autocast:
        """Return the context of the arithmetic that `training.precision` asks for."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.training.precision == "bfloat16")


def set_up(
    config: RunConfig,
    device: torch.device,
    *,
    cut_by_graph: bool = False,
    divide: Callable[[Splits], Splits] | None = None,
    reads: bool = True,
    like: About | None = None,
) -> Setup:
    """Load the data and build the untrained network.

    Args:
        config: decides the result.
        device: of the network.
        cut_by_graph: make modules of its stages, whatever `model.by` says.
        divide: which of the samples are for training, validation and test, where that is not for the task to say.
        reads: whether this process needs the inputs; those of the batches are blank where it does not.
        like: the data set by which the inputs are to be made; see `Task.like`.

    Raises:
        ConfigError: something does not fit the machine, the samples or the network.
    """
    if config.training.capture == "on" and device.type != "cuda":
        why = "training.capture = 'on' needs CUDA, whose graphs capture a step"
        raise ConfigError([f"{why}, but trains on {device.type!r}: set training.capture = 'auto', or training.device = 'cuda'"])
    task = build_task(config) if like is None else build_task(config).like(like)
    loaded = task.load(config.training.seed)
    splits = divide(loaded) if divide else loaded
    torch.manual_seed(config.training.seed)
    learner = build_learner(config, task, splits.about, device, cut_by_graph=cut_by_graph)
    optimizer = build_optimizer(learner.module, config.optimizer)
    read = splits if reads else splits.of_worker(lambda count: [])
    resident = on_device(read.train, device, task.memory_bytes, always=splits.collector is not None)
    counts = _class_weights(config, splits)
    counts = counts if counts is None else counts.to(device)
    batches = Batches(task=task, splits=read, training=config.training, device=device, resident=resident, class_weights=counts)
    setup = Setup(config=config, device=device, splits=splits, batches=batches, learner=learner, optimizer=optimizer)
    with without_side_effects(learner.module):
        learner.module.eval()
        x = batches.first(2).x
        answer = learner.lazy_log_beliefs(x)[-1].shape[1:] if learner.beliefs_can_wait else learner.log_beliefs(x).shape[2:]
    if splits.collector and learner.remembers_samples:
        why = "remembers every sample, and here they are renewed before each epoch"
        raise ConfigError([f"learner.name = {config.learner.name!r} as it is set {why}: choose other settings, or another method"])
    learner.prepare_training(samples=len(splits.train), epochs=config.training.epochs, optimizer=optimizer, answer=answer)
    return setup


def _class_weights(config: RunConfig, splits: Splits) -> Tensor | None:
    """Return what each class counts, `[C]`; None where all count alike."""
    asked, classes = config.training.class_weights, splits.about["num_classes"]
    if asked == "none":
        return None
    if asked == "balanced":
        return balanced(splits.train.target[:], classes).float()
    if len(asked) != classes or not any(asked):
        raise ConfigError([f"training.class_weights has {len(asked)} numbers: give one for each of {classes} classes, not all 0"])
    return torch.tensor(asked, dtype=torch.float32)


def choose_device(name: str) -> torch.device:
    """Return the device that `training.device` asks for; a ConfigError where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(["training.device = 'cuda', but PyTorch sees no CUDA device: set training.device to 'cpu' or 'auto'"])
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def build_task(config: RunConfig) -> Task:
    """Return the domain with its settings; a ConfigError where they do not fit."""
    task: Task = _make("data", config)
    return task


def build_learner(config: RunConfig, task: Task, about: About, device: torch.device, *, cut_by_graph: bool = False) -> Learner:
    """Return the untrained network on a device, compiled if asked to, with its training method.

    Its weights follow from the global random number generator. Compilation is in place and part by part, because the schedules
    call extractor, stages and heads one by one, for which a staged network is cut by graph; the names of the weights stay the same.
    Where the network cannot read such samples or be cut so, or the method cannot train it, that is a ConfigError.
    """
    wanted = "training.compile = true" if config.training.compile else "several workers" if cut_by_graph else ""
    if wanted and getattr(config.model, "by", "graph") != "graph":
        config = replace(config, model=replace(config.model, by="graph"))
    else:
        wanted = ""
    try:
        module: nn.Module = _make("model", config, task.example(about), about["num_classes"], task.positions)
    except ConfigError as error:
        why = f" (cut by graph, which {wanted} asks for)" if wanted else ""
        raise ConfigError([problem + why for problem in error.problems]) from None
    module.to(device, memory_format=task.memory_format)  # type: ignore[call-overload]
    if config.training.compile and isinstance(module, StagedCascade):
        module.compile_stages()
    elif config.training.compile:
        for part in (module.extractor, *module.stages) if isinstance(module, SharedCascade) else (module,):
            part.compile()
    learner: Learner = _make("learner", config, module)
    return learner


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Return the optimiser over all parameters of the module, in its fused form, which leaves a step out where `found_inf` is 1.

    Its groups differ in weight decay and learning rate; `rate_factor` is a group's multiple of the learning rate, which is a tensor
    on the device: in float32 for CUDA's kernels, in float64 for those of the CPU, which read it as a number.
    """
    heads = set(module.heads.parameters()) if isinstance(module, StagedCascade) else set()
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        factor = config.head_learning_rate if parameter in heads else 1.0
        decays = config.weight_decay_on == "all" or parameter.dim() > 1
        members.setdefault((factor, config.weight_decay if decays else 0.0), []).append(parameter)

    def rate(factor: float, device: torch.device) -> Tensor:
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        return torch.tensor(config.learning_rate * factor, dtype=dtype, device=device)

    groups = [
        {"params": parameters, "lr": rate(factor, parameters[0].device), "weight_decay": decay, "rate_factor": factor}
        for (factor, decay), parameters in members.items()
    ]
    match config.name:
        case "adam":
            return Adam(groups, fused=True)
        case "adamw":
            return AdamW(groups, fused=True)
        case "sgd":
            return SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.nesterov, fused=True)


def _make(section: str, config: RunConfig, *arguments: Any) -> Any:
    """Return what a section chooses, made with its settings; what it refuses is a problem of the configuration."""
    settings, choice = vars(getattr(config, section)), CHOICES[section]
    try:
        return build(choice.chosen(settings, config.task), settings, *arguments)
    except ValueError as error:
        setting = f"{section}.{choice.key} = {settings[choice.key]!r}: " if choice.key else f"{section}."
        raise ConfigError([setting + problem for problem in getattr(error, "problems", [str(error)])]) from None


def problems(config: RunConfig) -> Iterator[str]:
    """Yield what does not go together in a configuration whose values are each in range; each problem names the way out."""
    settings, optimizer = asdict(config.learner), config.optimizer
    method, kind = CHOICES["learner"].chosen(settings, config.task), CHOICES["model"].makes(vars(config.model), config.task)
    if isinstance(method, type) and issubclass(method, Learner):
        yield from _of_method(method, settings, config)
    else:
        yield f"learner.name = {config.learner.name!r} is no training method: name a subclass of torchsid.core.learner.Learner"
    if optimizer.name != "sgd" and (optimizer.momentum or optimizer.nesterov):
        yield f"optimizer.momentum and optimizer.nesterov belong to optimizer.name = 'sgd', not to {optimizer.name!r}"
    elif optimizer.nesterov and not optimizer.momentum:
        yield "optimizer.nesterov needs optimizer.momentum above 0 (0.9 is usual)"
    if optimizer.schedule == "one-cycle" and not optimizer.warmup:
        yield "optimizer.schedule = 'one-cycle' needs optimizer.warmup above 0 (0.3 is usual)"
    if issubclass(kind, SharedCascade) and optimizer.head_learning_rate != 1:
        yield "optimizer.head_learning_rate is for the belief heads of model.network = 'staged': leave it out"
    if issubclass(kind, StagedCascade) and config.watch.conflict:
        yield "watch.conflict = true measures a shared extractor, which model.network = 'staged' has not: set it to false"
    if config.watch.on_no_descent == "stop" and not config.watch.certify:
        yield "watch.on_no_descent = 'stop' acts on what watch.certify measures: set watch.certify = true"
    if config.training.patience and not getattr(config.data, "validation", True):
        yield "training.patience needs validation samples: set data.validation above 0, or training.patience = 0"


def _of_method(method: type[Learner], settings: Mapping[str, Any], config: RunConfig) -> Iterator[str]:
    """What the method says of its settings and of the network, and what it asks of the rest."""
    network, depth = config.model.network, getattr(config.model, "depth", 1)
    for problem in method.problems(settings, network=network, depth=depth, epochs=config.training.epochs):
        yield f"learner.{problem}"
    if method.updates_at_once(settings):
        yield from updates_at_once(config, "learner.update = 'stage' changes")
    try:
        task = build_task(config)
        blends, phases = task.blends_samples, task.phases
    except ConfigError as error:
        yield from error.problems
    else:
        if config.training.epochs % phases:
            yield f"training.epochs = {config.training.epochs} fall into {phases} equal phases: set a multiple of {phases}"
        if phases > 1 and config.training.patience:
            yield f"training.patience could end the training before the last of {phases} phases: set it to 0"
        if blends and method.needs_whole_samples:
            why = "needs whole samples, and the augmentation in data blends two"
            yield f"learner.name = {config.learner.name!r} {why}: switch that off, or choose another method"


def updates_at_once(config: RunConfig, who: str) -> Iterator[str]:
    """Yield what does not go with stages that are updated one by one; `who` begins the sentence that says why they are."""
    why = f"{who} a stage before the others have their gradients"
    if config.optimizer.clip_gradient:
        yield f"{why}, so that optimizer.clip_gradient has no whole gradient to measure: set optimizer.clip_gradient = 0"
    if config.training.on_non_finite == "skip":
        yield f"{why}, so that no step can be undone: set training.on_non_finite = 'error' instead of 'skip'"
