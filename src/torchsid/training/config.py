"""The configuration of a run: one tree of frozen dataclasses, checked as a whole. Nothing here imports torch.

A field is addressed by its dotted name (`learner.alpha`, `training.epochs`) in recipes, on the command line and in messages.
"""

import re
from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from torchsid import heads, models
from torchsid.errors import ConfigError, unknown_name
from torchsid.tasks.images.config import AugmentConfig, DataConfig
from torchsid.training import compatible
from torchsid.training.robust import RobustConfig

# Strict, because `epochs = true` and `epochs = "3"` are slips and not numbers.
Count = Annotated[int, Field(ge=1, strict=True)]
CountOrZero = Annotated[int, Field(ge=0, strict=True)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]

_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True)
_ALPHA_SCHEDULE = re.compile(r"(linear|cosine):([^:]+):([^:]+)")


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class ModelConfig:
    """The network: stages over a shared extractor, a classifier cut into stages, or a network without stages.

    What describes stages rests in a `plain` network, so that a twin for backpropagation changes one line.
    """

    network: Literal["cascade", "staged", "plain"] = "cascade"
    """`cascade`: an extractor and stages that all read its features. `staged`: the classifier `trunk`, cut into stages with a
    belief head each. `plain`: `trunk`, or without one the extractor and one linear layer; for backpropagation only."""
    extractor: str = "simple-cnn"
    """Name of the extractor; `torchsid list models` shows them."""
    feature_dim: Count = 128
    """Width F of the features that the extractor hands on."""
    depth: Count = 5
    """Number of stages L."""
    hidden: Count = 256
    """Width of the hidden layer of each stage of a cascade."""
    stage: Literal["plain", "residual"] = "plain"
    """Kind of stage: the paper's, or one that adds its logits to the previous log-belief."""
    init: Literal["pytorch", "xavier", "kaiming", "orthogonal", "zero"] = "pytorch"
    """How the weights of the stages of a cascade begin. `zero` is for the last layer of each: a plain stage then begins with the
    uniform belief. The last layer of a residual stage begins with zero in any case."""
    trunk: str = ""
    """Name of a whole classifier; `torchsid list classifiers` shows them."""
    width: CountOrZero = 0
    """Scales the trunk: features, first channels or tokens; 0 is the classifier's own width."""
    cuts: list[str] = field(default_factory=list)
    """Names of the `depth - 1` submodules of the trunk after which to cut; empty lets `balance` choose."""
    balance: Literal["memory", "work", "equal"] = "memory"
    """What the stages share evenly: bytes kept for backward, operations, or the pieces that the trunk can be cut into."""
    by: Literal["boundary", "graph"] = "boundary"
    """How the trunk is cut: `boundary` runs any model as it is; `graph` carries skip connections over a cut and can be compiled."""
    head: str = "auto"
    """Name of the stages' belief heads, see `torchsid list heads`; `auto` takes what fits the shape of the features."""
    max_head_share: Positive = 0.25
    """The most multiply-adds of a head, as a share of those of an average stage."""

    def __post_init__(self) -> None:
        problems = []
        if self.extractor not in models.names():
            problems.append(unknown_name("model.extractor", self.extractor, models.names()))
        if self.trunk and self.trunk not in models.classifier_names():
            problems.append(unknown_name("model.trunk", self.trunk, models.classifier_names()))
        if self.head not in (allowed := ("auto", *heads.names())):
            problems.append(unknown_name("model.head", self.head, allowed))
        _raise(problems)


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class LearnerConfig:
    """The training method. `alpha` to `update`, apart from `label_smoothing`, belong to SID."""

    name: Literal[
        "sid", "backprop", "deep-supervision", "soft-bootstrap", "hard-bootstrap", "self-distillation", "gce", "sce", "elr"
    ] = "sid"
    """`sid` (every stage learns from its own loss), `backprop` (one loss, end to end), `deep-supervision` (a loss at every stage of
    a cascade, end to end), or backpropagation with a loss that was made for wrong labels; `torchsid list learners` describes
    them."""
    alpha: float | list[float] | str = 0.5
    """Weight of the target in [0, 1]: a number, one a stage, or a schedule `linear:FIRST:LAST` or `cosine:FIRST:LAST`."""
    alpha_over: Literal["stages", "epochs"] = "stages"
    """What a schedule in `alpha` runs over. `epochs`: all stages have FIRST in the first epoch and LAST in the last."""
    direction: Literal["forward", "reverse"] = "forward"
    """`forward`: D(p, q) = KL(q‖p), as in the reference code. `reverse`: KL(p‖q), as in the theory; needs `label_smoothing`."""
    temperature: Positive = 1.0
    """Of the previous belief as a teacher: above 1 it is softer, below 1 sharper."""
    label_smoothing: Share = 0.0
    """Share ε of the target that is spread evenly over the classes."""
    schedule: Literal["streaming", "two_phase", "batched"] = "streaming"
    """How one step is executed; every schedule gives the same gradients."""
    combine: Literal["sum", "mean", "pcgrad"] = "sum"
    """How the stages' gradients meet in the extractor of a cascade."""
    window: Count = 1
    """How many stages of a staged network a loss reaches back over: 1 is SID, `model.depth` is deep supervision, end to end."""
    teachers: Literal["same-batch", "last-epoch"] = "same-batch"
    """Whose beliefs a stage learns from: the previous stage's on the same batch, or those on the same samples one epoch before, for
    which no stage has to wait."""
    update: Literal["together", "stage"] = "together"
    """`together`: the optimiser steps when all stages have their gradients. `stage`: a staged network updates each stage at once;
    the weights are the same to the bit, and gradients take the memory of one stage."""
    robust: RobustConfig = field(default_factory=RobustConfig)
    """Settings of the methods for wrong labels."""

    def __post_init__(self) -> None:
        problems = list(_alpha_problems(self.alpha))
        if self.alpha_over == "epochs" and not isinstance(self.alpha, str):
            problems.append(
                f"learner.alpha_over = 'epochs' needs a schedule, not learner.alpha = {self.alpha!r}: "
                "set learner.alpha to 'linear:FIRST:LAST' or 'cosine:FIRST:LAST', or learner.alpha_over to 'stages'"
            )
        if self.name == "sid" and self.direction == "reverse" and self.label_smoothing == 0:
            problems.append(
                "learner.direction = 'reverse' is infinite for one-hot targets: "
                "set learner.label_smoothing above 0 (0.1 is usual) or learner.direction = 'forward'"
            )
        _raise(problems)


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
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

    def __post_init__(self) -> None:
        problems = []
        if self.name != "sgd" and (self.momentum or self.nesterov):
            problems.append(f"optimizer.momentum and optimizer.nesterov belong to optimizer.name = 'sgd', not to {self.name!r}")
        elif self.nesterov and not self.momentum:
            problems.append("optimizer.nesterov needs optimizer.momentum above 0 (0.9 is usual)")
        if self.schedule == "one-cycle" and not self.warmup:
            problems.append("optimizer.schedule = 'one-cycle' needs optimizer.warmup above 0 (0.3 is usual)")
        _raise(problems)


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class TrainingConfig:
    """Length, seed, machine and safeguards of the run."""

    epochs: Count = 20
    """Passes over the training images."""
    batch_size: Count = 128
    """Images a step; the last step of an epoch takes what is left."""
    seed: CountOrZero = 0
    """Fixes the initial weights, the order of the images, the augmentation and dropout."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the training steps; `bfloat16` is autocast, weights and evaluation stay float32."""
    channels_last: bool = False
    """Keep images and convolutions in channels-last memory format: faster convolutions on most machines."""
    compile: bool = False
    """Compile the network with `torch.compile`; a staged one needs `model.by = "graph"`."""
    threads: CountOrZero = 0
    """Threads of one tensor operation on the CPU; 0 leaves PyTorch's own choice."""
    device: Literal["cpu", "cuda", "auto"] = "auto"
    """Where to train; `auto` takes CUDA if there is one."""
    clip_gradient: NotNegative = 0.0
    """Largest norm of the whole gradient; 0 does not clip."""
    on_non_finite: Literal["error", "skip"] = "error"
    """What NaN or infinity in images, losses or gradients does: end the run, or skip the step and count it."""
    checkpoint_every_seconds: NotNegative = 60.0
    """Seconds between checkpoints inside an epoch; 0 saves only at the end of each epoch."""
    conflict: bool = False
    """Record after every epoch how far the stages' gradients agree in the extractor (SID on a cascade only)."""
    certify: bool = False
    """Record after every epoch for which share of a few held-out images each stage brings the belief closer to the label, and warn
    where a stage on average does not. `torchsid certify` measures more, on all images."""
    on_no_descent: Literal["warn", "stop"] = "warn"
    """What a stage that takes beliefs away from the labels leads to: a warning alone, or the end of the run; needs `certify`."""
    tensorboard: bool = False
    """Write TensorBoard files as well; needs `pip install 'torchsid[tensorboard]'`."""
    patience: CountOrZero = 0
    """Stop after so many epochs without a better validation accuracy; 0 never stops early."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
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


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class RunConfig:
    """Everything that decides a run's result.

    Raises:
        ValueError: a value is out of range, or two settings exclude each other; all of them are named.
    """

    recipe: str
    """Name of the recipe that this configuration came from."""
    label: str
    """Name of the method in tables and figures."""
    data: DataConfig
    """Which images, how many, and which label noise."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation of the training images."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """The training method."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimiser."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Length, seed, machine and safeguards."""
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    """Stages on many workers."""

    def __post_init__(self) -> None:
        _raise(compatible.problems(self))


def _alpha_problems(alpha: float | list[float] | str) -> list[str]:
    """Return what is wrong with `learner.alpha`; empty when nothing is."""
    allowed = "allowed is a number in [0, 1], a list of them, 'linear:FIRST:LAST' or 'cosine:FIRST:LAST'"
    if isinstance(alpha, str):
        match = _ALPHA_SCHEDULE.fullmatch(alpha)
        try:
            values = [float(end) for end in match.groups()[1:]] if match else []
        except ValueError:
            values = []
        if not values:
            return [f"learner.alpha = {alpha!r}: {allowed}"]
    else:
        values = alpha if isinstance(alpha, list) else [alpha]
    return [] if all(0 <= value <= 1 for value in values) else [f"learner.alpha = {alpha!r}: {allowed}"]


def _raise(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)
