"""Settings that need or exclude each other; each problem names them and the way out. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchsid.training.config import LearnerConfig, ModelConfig, RunConfig

_OF_A_TRUNK = ("trunk", "width")
_OF_ITS_STAGES = ("cuts", "balance", "by", "head", "max_head_share")
_OF_A_CASCADE = ("extractor", "feature_dim", "hidden", "init")
_REMEMBERS = ("self-distillation", "elr")


def problems(config: RunConfig) -> list[str]:
    """Return what does not go together in a configuration whose values are each in range."""
    return [*_model(config.model), *_method(config), *_rest(config)]


def _model(model: ModelConfig) -> Iterator[str]:
    unused: tuple[str, ...]
    if model.network == "cascade":
        unused, owner = (*_OF_A_TRUNK, *_OF_ITS_STAGES), "'staged'"
    elif model.trunk:
        unused, owner = _OF_A_CASCADE, "'cascade'"
    else:
        unused, owner = _OF_A_TRUNK, f"{model.network!r} with a model.trunk"
        if model.network == "staged":
            yield "model.network = 'staged' cuts a classifier into stages: name it by model.trunk, such as 'resnet-18'"
    yield from (
        f"model.{name} = {value!r} has no effect here, it belongs to model.network = {owner}: leave it out"
        for name, value in _changed(model, unused)
    )
    if model.network == "staged" and model.cuts and len(model.cuts) + 1 != model.depth:
        yield (
            f"model.cuts names {len(model.cuts)} cuts for model.depth = {model.depth}: "
            f"set model.depth = {len(model.cuts) + 1}, or leave model.cuts out"
        )


def _method(config: RunConfig) -> Iterator[str]:
    """Learner and network."""
    learner, network, depth = config.learner, config.model.network, config.model.depth
    if isinstance(learner.alpha, list) and len(learner.alpha) != depth:
        yield (
            f"learner.alpha has {len(learner.alpha)} values for model.depth = {depth}: "
            "give one value a stage, one number, or a schedule such as 'linear:1.0:0.2'"
        )
    if learner.alpha_over == "epochs" and config.training.epochs < 2:
        yield (
            "learner.alpha_over = 'epochs' leads from the first epoch to the last: "
            "set training.epochs to 2 or more, or learner.alpha_over = 'stages'"
        )
    if learner.name == "deep-supervision":
        yield from _deep_supervision(config)
    elif learner.name != "sid":
        if network == "staged":
            yield (
                f"learner.name = {learner.name!r} would leave the belief heads of model.network = 'staged' untrained: "
                "set model.network = 'plain', which is the same trunk"
            )
    elif network == "plain":
        yield "learner.name = 'sid' trains stages: set model.network = 'cascade' or 'staged', or learner.name = 'backprop'"
    elif network == "staged":
        yield from _sid_on_stages(config)
    else:
        yield from _sid_on_a_cascade(learner)


def _deep_supervision(config: RunConfig) -> Iterator[str]:
    name = "learner.name = 'deep-supervision'"
    if config.model.network == "staged":
        yield (
            f"{name} is for the stages of model.network = 'cascade': a staged network has learner.name = 'sid' with "
            f"learner.window = {config.model.depth}, model.depth, for it"
        )
    elif config.model.network == "plain":
        yield f"{name} trains stages: set model.network = 'cascade', or learner.name = 'backprop'"


def _sid_on_stages(config: RunConfig) -> Iterator[str]:
    learner, training, depth = config.learner, config.training, config.model.depth
    if learner.schedule != "streaming":
        yield f"learner.schedule = {learner.schedule!r} runs model.network = 'cascade'; a staged network streams: leave it out"
    if learner.combine != "sum":
        yield f"learner.combine = {learner.combine!r} merges gradients in the extractor of model.network = 'cascade': leave it out"
    if learner.window > depth:
        yield f"learner.window = {learner.window} reaches over more stages than there are: set it to {depth}, model.depth, or less"
    if training.conflict:
        yield "training.conflict = true measures a shared extractor, which model.network = 'staged' has not: set it to false"
    if training.compile and config.model.by != "graph":
        yield f"training.compile = true needs stages that are modules: set model.by = 'graph' instead of {config.model.by!r}"
    if learner.update == "stage":
        at_once = "learner.update = 'stage' changes a stage before the others have their gradients"
        if learner.window > 1:
            yield f"{at_once}, which learner.window = {learner.window} still needs: set one of them to its default"
        if training.clip_gradient:
            yield f"{at_once}, so that training.clip_gradient has no whole gradient to measure: set one of them to its default"
        if training.on_non_finite == "skip":
            yield f"{at_once}, so that no step can be undone: set training.on_non_finite = 'error', or learner.update = 'together'"


def _sid_on_a_cascade(learner: LearnerConfig) -> Iterator[str]:
    if learner.window != 1:
        yield f"learner.window = {learner.window} reaches back through the stages of model.network = 'staged': leave it out"
    if learner.update != "together":
        yield "learner.update = 'stage' belongs to model.network = 'staged': the extractor of a cascade waits for all stages"


def _rest(config: RunConfig) -> Iterator[str]:
    if config.model.network == "cascade" and config.optimizer.head_learning_rate != 1:
        yield "optimizer.head_learning_rate is for the belief heads of model.network = 'staged': leave it out"
    if config.learner.teachers == "last-epoch" and config.learner.schedule != "streaming":
        yield (
            f"learner.schedule = {config.learner.schedule!r} makes teachers of its own: set it to 'streaming', "
            "or learner.teachers = 'same-batch'"
        )
    if config.training.on_no_descent == "stop" and not config.training.certify:
        yield "training.on_no_descent = 'stop' acts on what training.certify measures: set training.certify = true"
    if config.learner.name in _REMEMBERS and (config.augment.mixup or config.augment.cutmix):
        yield (
            f"learner.name = {config.learner.name!r} remembers what was predicted for each image, "
            "but augment.mixup and augment.cutmix blend two: set both to 0, or choose another method"
        )
    if config.training.patience and not config.data.validation:
        yield "training.patience needs validation images: set data.validation above 0, or training.patience = 0"


def _changed(section: ModelConfig, names: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    """Yield name and value of those fields that do not have their default."""
    for entry in fields(section):
        value = getattr(section, entry.name)
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        if entry.name in names and value != default:
            yield entry.name, value
