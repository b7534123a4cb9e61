"""The configuration of a run: what is chosen by name, and the sections that every run has. Checked as a whole.

A field is addressed by its dotted name (`learner.alpha`, `training.epochs`) in recipes, on the command line and in messages. The
sections `data`, `model` and `learner` choose by name: each has the settings of what it chooses, and no others.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, make_dataclass
from functools import partial
from inspect import Parameter
from typing import Annotated, Any, Literal, get_type_hints

import tomli_w
from annotated_types import Ge, Gt, Le
from pydantic.dataclasses import dataclass as pydantic_dataclass

from torchsid import learners, models, tasks
from torchsid.registry import Registry
from torchsid.settings import STRICT, CountOrZero, NotNegative, OneOf, Positive, Seed, Setting, Share, all_settings

Some = Annotated[int, Ge(1), Le(1024)]  # a number of things that are all held at once

_MADE: dict[str, type] = {}


@dataclass(frozen=True)
class Choice:
    """A section that chooses from a registry. Each method raises a ConfigError where something that is chosen does not exist."""

    registry: Registry
    key: str  # the setting that has the name of the choice; empty where `RunConfig.task` has it
    default: str  # the choice of a recipe that makes none

    def chosen(self, table: Mapping[str, Any], task: str) -> Callable[..., Any]:
        """Return the class or function that a section chooses which sets `table`."""
        return self.registry.load(str(table.get(self.key, self.default)) if self.key else task)

    def makes(self, table: Mapping[str, Any], task: str) -> type:
        """Return the class of what a section makes: the one that it chooses, or what its function says that it returns."""
        chosen = self.chosen(table, task)
        made = chosen if isinstance(chosen, type) else get_type_hints(chosen).get("return")
        return made if isinstance(made, type) else object

    def settings(self, table: Mapping[str, Any], task: str) -> dict[str, Setting]:
        """Return the settings of a section, the choice itself first."""
        about = Setting(self.key, Annotated[str, OneOf(self.registry)], self.default, f"The {self.registry.kind}, by name.")
        return ({self.key: about} if self.key else {}) | all_settings(self.chosen(table, task), table)

    def section(self, table: Mapping[str, Any], task: str) -> type:
        """Return the dataclass of a section; the same one for the same settings, so that equals are equal."""
        settings = self.settings(table, task)
        identity = repr((self.chosen(table, task), settings))
        if identity not in _MADE:
            kinds = {each.name: str if OneOf.within(each.annotation) else each.annotation for each in settings.values()}
            defaults = {each.name: each.default for each in settings.values() if each.default is not Parameter.empty}
            made = {name: field(default_factory=partial(copy, value)) for name, value in defaults.items()}
            fields = [(name, kind, made.get(name, field())) for name, kind in kinds.items()]
            plain = make_dataclass("Settings", fields, frozen=True, kw_only=True)
            _MADE[identity] = pydantic_dataclass(plain, frozen=True, kw_only=True, config=STRICT)
        return _MADE[identity]


CHOICES: Mapping[str, Choice] = {
    "data": Choice(tasks.TASKS, "", "images"),
    "model": Choice(models.NETWORKS, "network", "cascade"),
    "learner": Choice(learners.LEARNERS, "name", "sid"),
}
"""By section of `RunConfig`."""


@pydantic_dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerConfig:
    """The optimiser and how its learning rate moves over the steps of the run."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """`adam` adds the weight decay to the gradient, `adamw` applies it to the weights."""
    learning_rate: Positive = 1e-3
    """Learning rate, the peak of the schedule."""
    head_learning_rate: Positive = 1.0
    """Learning rate of the belief heads of a staged network, as a multiple of `learning_rate`."""
    weight_decay: NotNegative = 0.0
    """Weight decay."""
    weight_decay_on: Literal["all", "weights"] = "all"
    """`all` parameters, or `weights` alone: tensors of two or more dimensions, hence neither biases nor normalisation."""
    momentum: Share = 0.0
    """Momentum of `sgd`."""
    nesterov: bool = False
    """Nesterov's momentum, for `sgd` with momentum."""
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    """`constant`; `cosine` falls to 0; `one-cycle` rises from 1/25 of the peak over the warm-up, then falls to 1/250,000 of it."""
    warmup: Share = 0.0
    """Share of all steps in which the learning rate rises."""
    clip_gradient: NotNegative = 0.0
    """Largest norm of the whole gradient; 0 does not clip."""


@pydantic_dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig:
    """Length, seed and machine of the run."""

    epochs: Annotated[int, Ge(1), Le(1_000_000)] = 20
    """Passes over the training samples."""
    batch_size: Annotated[int, Ge(1), Le(2**24)] = 128
    """Samples a step; the last step of an epoch takes what is left, and one sample left over joins the step before."""
    seed: Seed = 0
    """Fixes the initial weights, the order of the samples, the augmentation and dropout."""
    class_weights: Literal["none", "balanced"] | Sequence[NotNegative] = "none"
    """What the classes count in the loss, and in what is measured while training: all alike, each class the same in all
    (`balanced`), or a number for each. Evaluation counts every sample once."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the training steps; `bfloat16` is autocast, weights and evaluation stay float32."""
    compile: bool = False
    """Compile the network with `torch.compile`; a staged one is then cut by graph, whatever `model.by` says."""
    capture: Literal["auto", "on", "off"] = "auto"
    """Capture the training step as a CUDA graph and replay it; `auto` does so on CUDA. Several workers run eagerly."""
    threads: Annotated[int, Ge(0), Le(1024)] = 0
    """Threads of one tensor operation on the CPU; 0 leaves PyTorch's own choice."""
    device: Literal["cpu", "cuda", "auto"] = "auto"
    """Where to train; `auto` takes CUDA if there is one."""
    on_non_finite: Literal["error", "skip"] = "error"
    """What NaN or infinity in inputs, losses or gradients does: end the run, or skip the step and count it."""
    checkpoint_every_seconds: NotNegative = 60.0
    """Seconds between checkpoints inside an epoch; 0 saves only at the end of each epoch."""
    start_from: str = ""
    """A run whose best weights this one starts from, by `torchsid train`; its vocabulary is taken over. Empty draws them."""
    loggers: tuple[str, ...] = ()
    """Who records the epochs besides `metrics.jsonl`: any of `tensorboard`, `mlflow` and `wandb`, each an extra of its name, or
    `package.module:Class`."""
    patience: CountOrZero = 0
    """Stop after so many epochs without a better validation, by what the task is judged by; 0 never stops early."""


@pydantic_dataclass(frozen=True, kw_only=True, config=STRICT)
class WatchConfig:
    """What is measured beside training, after every epoch."""

    conflict: bool = False
    """Record how far the stages' gradients agree in a shared extractor."""
    certify: bool = False
    """Record for which share of a few held-out samples each stage brings the belief closer to the target, and warn where a stage on
    average does not. `torchsid certify` measures more, on all samples."""
    on_no_descent: Literal["warn", "stop"] = "warn"
    """What a stage that takes beliefs away from the targets leads to: a warning alone, or the end of the run; needs `certify`."""


@pydantic_dataclass(frozen=True, kw_only=True, config=STRICT)
class DistributedConfig:
    """Stages on many workers, started by `torchrun`; one process takes no notice. A run may go on with other values."""

    replicas: Some = 1
    """Workers that share every stage, each with a part of the batch; the others line up along the stages."""
    micro_batches: Some = 1
    """Parts of a batch that pass through the stages one after the other, which are updated after the last (staged networks)."""
    wire: Literal["float32", "bfloat16"] = "float32"
    """How features travel between workers; `bfloat16` halves the traffic and rounds them."""
    staleness: Annotated[int, Ge(0), Le(1024)] = 0
    """Batches that the extractor of a cascade runs ahead of the gradient it waits for; 0 is exact, as one process."""
    queue: Some = 2
    """Messages under way between two workers; a slow link needs 2 · delay / time of a step and one more."""
    timeout: Annotated[float, Gt(0), Le(1e6)] = 300.0
    """Seconds without a sign of a neighbour after which a worker counts as hanging."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's result; `torchsid.training.resolve` makes and checks one."""

    recipe: str
    """Name of the recipe that this configuration came from."""
    label: str
    """Name of the method in tables and figures."""
    task: str = CHOICES["data"].default
    """The domain; a name of `torchsid list tasks`, or `package.module:Class`."""
    data: Any
    """The samples: the settings of the task."""
    model: Any
    """The network: `network`, and the settings of what it names."""
    learner: Any
    """The training method: `name`, and its settings."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)


def to_toml(config: RunConfig) -> str:
    """Return the configuration as TOML text that `load_recipe` reads back to an equal one."""
    return tomli_w.dumps(asdict(config))


def config_sha256(config: RunConfig) -> str:
    """Return the SHA-256 of the configuration's TOML text, as hexadecimal digits; without `distributed`, which may change."""
    return sha256_of_table(asdict(config))


def sha256_of_table(table: Mapping[str, Any]) -> str:
    """Return the `config_sha256` of the configuration that a table of a config.toml holds."""
    tree = {name: section for name, section in table.items() if name != "distributed"}
    return hashlib.sha256(tomli_w.dumps(tree).encode()).hexdigest()


def differences(before: object, after: object, prefix: str = "") -> list[str]:
    """Return `name: old -> new` for every field in which two configurations differ; a setting that one of them lacks is absent."""
    trees = (asdict(tree) for tree in (before, after))  # type: ignore[call-overload]
    old, new = ({name: repr(value) for name, value in dotted(tree, prefix)} for tree in trees)
    pairs = {name: (old.get(name, "absent"), new.get(name, "absent")) for name in old | new}
    return [f"{name}: {before} -> {after}" for name, (before, after) in pairs.items() if before != after]


def dotted(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the entries of nested tables by dotted names."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
