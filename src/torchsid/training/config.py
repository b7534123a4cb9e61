"""The configuration of a run: what is chosen by name, and the sections that every run has. Checked as a whole.

A field is addressed by its dotted name (`learner.alpha`, `training.epochs`) in recipes, on the command line and in messages. The
sections `data`, `model` and `learner` have the settings of what they choose (`torchsid.training.choices`).
"""

import hashlib
from dataclasses import asdict, field
from dataclasses import dataclass as plain_dataclass
from typing import Any, Literal

import tomli_w
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from torchsid.settings import Count, CountOrZero, NotNegative, Positive, Share
from torchsid.training.choices import CHOICES

# Strict, because `epochs = true` and `epochs = "3"` are slips and not numbers.
CONFIG = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
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


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class TrainingConfig:
    """Length, seed and machine of the run."""

    epochs: Count = 20
    """Passes over the training samples."""
    batch_size: Count = 128
    """Samples a step; the last step of an epoch takes what is left."""
    seed: CountOrZero = 0
    """Fixes the initial weights, the order of the samples, the augmentation and dropout."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the training steps; `bfloat16` is autocast, weights and evaluation stay float32."""
    compile: bool = False
    """Compile the network with `torch.compile`; a staged one needs `model.by = "graph"`."""
    threads: CountOrZero = 0
    """Threads of one tensor operation on the CPU; 0 leaves PyTorch's own choice."""
    device: Literal["cpu", "cuda", "auto"] = "auto"
    """Where to train; `auto` takes CUDA if there is one."""
    on_non_finite: Literal["error", "skip"] = "error"
    """What NaN or infinity in inputs, losses or gradients does: end the run, or skip the step and count it."""
    checkpoint_every_seconds: NotNegative = 60.0
    """Seconds between checkpoints inside an epoch; 0 saves only at the end of each epoch."""
    patience: CountOrZero = 0
    """Stop after so many epochs without a better validation accuracy; 0 never stops early."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class WatchConfig:
    """What is measured beside training, after every epoch."""

    conflict: bool = False
    """Record how far the stages' gradients agree in a shared extractor."""
    certify: bool = False
    """Record for which share of a few held-out samples each stage brings the belief closer to the target, and warn where a stage on
    average does not. `torchsid certify` measures more, on all samples."""
    on_no_descent: Literal["warn", "stop"] = "warn"
    """What a stage that takes beliefs away from the targets leads to: a warning alone, or the end of the run; needs `certify`."""
    tensorboard: bool = False
    """Write TensorBoard files as well; needs `pip install 'torchsid[tensorboard]'`."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class DistributedConfig:
    """Stages on many workers, started by `torchrun`; one process takes no notice. A run may go on with other values."""

    replicas: Count = 1
    """Workers that share every stage, each with a part of the batch; the others line up along the stages."""
    micro_batches: Count = 1
    """Parts of a batch that pass through the stages one after the other, which are updated after the last (staged networks)."""
    wire: Literal["float32", "bfloat16"] = "float32"
    """How features travel between workers; `bfloat16` halves the traffic and rounds them."""
    staleness: CountOrZero = 0
    """Batches that the extractor of a cascade runs ahead of the gradient it waits for; 0 is exact, as one process."""
    queue: Count = 2
    """Messages under way between two workers; a slow link needs 2 · delay / time of a step and one more."""
    timeout: Positive = 300.0
    """Seconds without a sign of a neighbour after which a worker counts as hanging."""


@plain_dataclass(frozen=True, kw_only=True)
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
    """The optimiser."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Length, seed and machine."""
    watch: WatchConfig = field(default_factory=WatchConfig)
    """What is measured beside training."""
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    """Stages on many workers."""


def to_toml(config: RunConfig) -> str:
    """Return the configuration as TOML text that `load_recipe` reads back to an equal one."""
    return tomli_w.dumps(asdict(config))


def config_sha256(config: RunConfig) -> str:
    """Return the SHA-256 of the configuration's TOML text, as hexadecimal digits; without `distributed`, which may change."""
    tree = {name: section for name, section in asdict(config).items() if name != "distributed"}
    return hashlib.sha256(tomli_w.dumps(tree).encode()).hexdigest()
