"""Random settings: what is allowed trains or is refused in a sentence; what is not is refused in a sentence."""

import math
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from random import Random
from typing import Any

import tomli_w
import torch

from tests.fuzz import data_sets, values
from tests.fuzz.case import NAMED, BrokenPromiseError, named
from torchsid.core.cascade import Cascade
from torchsid.errors import ConfigError
from torchsid.learners import LEARNERS
from torchsid.learners.locality import check_locality
from torchsid.models import CLASSIFIERS, NETWORKS
from torchsid.settings import settings_of
from torchsid.training import RunConfig, resolve, train
from torchsid.training.config import CHOICES, to_toml
from torchsid.training.measured import Sums
from torchsid.training.recipes import load_recipe, recipe_names
from torchsid.training.setup import Setup, set_up
from torchsid.training.step import Trainer

SAFE = ["training.device=cpu", "training.threads=1", "training.compile=false"]
NO_MEMORY = ("allocate", "memory", "Storage size", "numel", "overflow", "too large")
"""What PyTorch says of tensors that no machine holds."""


def case(random: Random, folder: Path) -> str:
    """Draw a configuration, and in some of them one value that is not allowed, or at the end of what a number can be."""
    base = [*_choices(random), *data_sets.chosen(random), *SAFE]
    recipe = random.choice([*recipe_names()])
    try:
        config = spared(resolve(recipe, [*base, *_small(recipe, base, random)]))
    except ConfigError as error:
        return f"refused: {named(error)}"
    mode = random.choices(["valid", "invalid", "extreme"], [6, 3, 1])[0]
    return {"valid": _valid, "invalid": _invalid, "extreme": _extreme}[mode](config, random, folder)


def entries(config: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted name, annotation and value of every setting that a configuration has."""

    def of(prefix: str, section: Any, settings: Any) -> Iterator[tuple[str, Any, Any]]:
        for name, setting in settings.items():
            value = getattr(section, name)
            if is_dataclass(value):
                yield from of(f"{prefix}{name}.", value, settings_of(type(value)))
            else:
                yield f"{prefix}{name}", setting.annotation, value

    for name, section in vars(config).items():
        if is_dataclass(section):
            chosen = CHOICES[name].settings(vars(section), config.task) if name in CHOICES else settings_of(type(section))
            yield from of(f"{name}.", section, chosen)


def written(name: str, value: Any) -> str:
    """Return an override, `name=value` in TOML."""
    if isinstance(value, dict):
        return f"{name}={{ {', '.join(f'{key} = {each}' for key, each in value.items())} }}"
    try:
        return f"{name}={tomli_w.dumps({'v': value}).removeprefix('v = ').rstrip()}"
    except (TypeError, ValueError):  # a text or a number that TOML does not hold is given as it is
        return f"{name}={value}"


def changed(config: RunConfig, random: Random, count: int) -> list[str]:
    """Return overrides that set so many settings to other values that their annotations allow."""
    kept = {each.partition("=")[0] for each in SAFE} | {"data.name", "data.path", "data.cache", "data.limit", "model.network"}
    open_ = [each for each in entries(config) if each[0] not in kept]
    return [written(name, values.valid(kind, random, value)) for name, kind, value in random.sample(open_, min(count, len(open_)))]


def drawn(random: Random, count: int) -> RunConfig:
    """Return a configuration of any recipe, network and method with so many random settings.

    Raises:
        ConfigError: what was drawn does not go together.
    """
    base, recipe = [*_choices(random), *data_sets.chosen(random), *SAFE], random.choice([*recipe_names()])
    base += _small(recipe, base, random)
    return spared(resolve(recipe, [*base, *changed(resolve(recipe, base), random, count)]))


def spared(config: RunConfig) -> RunConfig:
    """Return the configuration without what crashes PyTorch itself; docs/reliability.md says how."""
    narrow = getattr(config.model, "width", 8) < 8
    return resolve(_table(config), ["data.channels_last=false"]) if narrow and config.data.channels_last else config


def _choices(random: Random) -> list[str]:
    """Return a network and a method that go together, or nothing: then the recipe's own."""
    method = random.choice(["", *LEARNERS.names()])
    if not method:
        return []
    networks = [name for name in NETWORKS.names() if name in getattr(LEARNERS.load(method), "networks", NETWORKS.names())]
    network = random.choice(networks or NETWORKS.names())
    trunk = [f"model.trunk={random.choice(CLASSIFIERS.names())}"] if network == "staged" else []
    return [f"learner.name={method}", f"model.network={network}", *trunk]


def _small(recipe: str, base: list[str], random: Random) -> list[str]:
    """Return sizes that train in an instant, for whatever the network has: widths, depths, heads of attention."""
    try:
        config = resolve(recipe, base)
    except ConfigError:
        shipped = load_recipe(recipe)
        return ["model.depth=2"] if "depth" in shipped.get("model", {}) else []
    small = ["training.epochs=2", "training.batch_size=16", "training.checkpoint_every_seconds=0"]
    for name, kind, value in entries(config):
        if name.startswith("model.") and type(value) is int:
            small.append(written(name, values.valid(kind, random, value) if value <= 16 else 8))
    return small


def _valid(config: RunConfig, random: Random, folder: Path) -> str:
    try:
        config = spared(resolve(_table(config), changed(config, random, random.randint(0, 6))))
    except ConfigError as error:
        return f"refused: {named(error)}"
    if resolve(_table(config)) != config:
        raise BrokenPromiseError("a configuration does not come back from its own TOML")
    try:
        setup = set_up(config, torch.device("cpu"))
        _check_gradients(setup)
        _check_step(setup)
        if random.random() < 0.2:
            train(config, folder / "run")
            return "trained as a run"
    except NAMED as error:
        return f"refused: {named(error)}"
    return "trained a step"


def _table(config: RunConfig) -> dict[str, Any]:
    return tomllib.loads(to_toml(config))


def _check_gradients(setup: Setup) -> None:
    """Every parameter that trains has a finite gradient, no stage's loss reaches another one's."""
    learner = setup.learner
    learner.module.train()
    x, target, weight = setup.batches.first(6)
    output = learner.backward(x, target, weight=weight)
    if not output.stage_losses.isfinite().all():
        raise BrokenPromiseError(f"losses {output.stage_losses.tolist()}")
    for name, parameter in learner.module.named_parameters():
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.isfinite().all()):
            raise BrokenPromiseError(f"{name} has the gradient {parameter.grad}")
    learner.module.zero_grad()
    if isinstance(learner.module, Cascade) and learner.window is not None:
        check_locality(learner, x, target, weight=weight)


def _check_step(setup: Setup) -> None:
    """One step of the loop, after which every weight is finite and some have moved."""
    before = {name: parameter.detach().clone() for name, parameter in setup.learner.module.named_parameters()}
    trainer = Trainer(setup)
    sums = Sums()
    setup.learner.begin_epoch(1)
    trainer.begin(0, sums)
    trainer.take(next(iter(setup.batches.of_epoch(1))), setup.config.optimizer.learning_rate)
    why = trainer.read(sums)
    after = dict(setup.learner.module.named_parameters())
    if not all(parameter.isfinite().all() for parameter in after.values()):
        raise BrokenPromiseError(f"weights are not finite after a step: {why}")
    if not why and all(torch.equal(before[name], after[name]) for name in before):
        raise BrokenPromiseError("no weight has moved")


def _invalid(config: RunConfig, random: Random, folder: Path) -> str:
    name, override = random.choice([_wrong_value, _wrong_words])(config, random)
    try:
        found = resolve(_table(config), [override])
    except ConfigError as error:
        return f"forbidden: {named(error)}"
    if name is None:
        return "forbidden, but a text may be anything"
    raise BrokenPromiseError(f"{override[:200]!r} was accepted: {({key: each for key, _, each in entries(found)}).get(name)!r}")


def _wrong_value(config: RunConfig, random: Random) -> tuple[str | None, str]:
    fields = [(name, kind) for name, kind, _ in entries(config) if values.invalid(kind, Random(0)) is not None]
    name, kind = random.choice(fields)
    return name, written(name, values.invalid(kind, random))


def _wrong_words(config: RunConfig, random: Random) -> tuple[str | None, str]:
    """What no setting is: unknown names, nesting without end, numbers without end."""
    name, _, _ = random.choice([*entries(config)])
    depth = random.choice([3, 100, 2_000, 20_000])
    parent, leaf = name.rpartition(".")[::2]
    return random.choice(
        [
            (name, f"{parent}.{leaf}{random.choice('xyz')}=1"),
            (name, f"{'a.' * depth}b=1"),
            (name, f"{name}.{'a.' * depth}b=1"),
            (None, f"{name}={'[' * depth}{']' * depth}"),
            (None, f"{name}={'{a=' * depth}1{'}' * depth}"),
            (None, f"{name}={'9' * depth}"),
            (None, f"{name}={random.choice(values.STRANGE_TEXTS)}"),
            (name, f"{random.choice(values.STRANGE_TEXTS)}=1"),
            (name, name),
        ]
    )


def _extreme(config: RunConfig, random: Random, folder: Path) -> str:
    """A number at the end of its type, in a section where it is no size: refused in a sentence, or it sets up and takes a step."""
    fields = [
        (name, kind)
        for name, kind, value in entries(config)
        if values.extreme(kind, Random(0)) is not None and (type(value) is float or name.partition(".")[0] in ("training", "data"))
    ]
    name, kind = random.choice(fields)
    value = values.extreme(kind, random)
    try:
        config = resolve(_table(config), [written(name, value)])
    except ConfigError as error:
        return f"refused: {named(error)}"
    if isinstance(value, float) and not math.isfinite(value):
        raise BrokenPromiseError(f"{name} = {value} was accepted")
    try:
        setup = set_up(config, torch.device("cpu"))
        setup.learner.module.train()
        setup.learner.backward(*setup.batches.first(6)[:2])
    except NAMED as error:
        return f"refused: {named(error)}"
    except (RuntimeError, MemoryError) as error:
        if any(words in str(error) for words in NO_MEMORY):
            return "asked for more memory than there is"
        raise
    return f"extreme {name} set up"
