import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.core.recorder import ProcessorGraphs
from tests.tasks.test_own_task import Parity
from torchsid import SID, Backprop, staged_cascade
from torchsid.core import beliefs, capture
from torchsid.core.capture import WARM_UP, CapturedStep
from torchsid.core.learner import Learner
from torchsid.core.staged import StagedCascade
from torchsid.tasks import Samples, Splits
from torchsid.training import RunConfig, resolve
from torchsid.training.batches import Batch, Batches, on_device
from torchsid.training.config import OptimizerConfig
from torchsid.training.measured import Sums
from torchsid.training.setup import Setup, build_optimizer, set_up
from torchsid.training.step import Trainer, learning_rate

from .test_setup import built
from .toys import Quiet

STEPS, CONFIG = 40, resolve("digits-bp")


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3, 0.5])
def test_schedules_are_torchs(warmup: float) -> None:
    """One-cycle with a warm-up, cosine without."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    scheduler: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    if warmup:
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, STEPS, pct_start=warmup, cycle_momentum=False)
    config = OptimizerConfig(learning_rate=0.1, schedule="one-cycle" if warmup else "cosine", warmup=warmup)
    for step in range(STEPS):
        assert learning_rate(step, STEPS, config) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < STEPS - 1:
            scheduler.step()


def test_warm_up_is_a_straight_line_to_the_peak_and_the_shortest_runs_have_a_learning_rate() -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup=0.1)
    assert [learning_rate(step, STEPS, config) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    for schedule in ("constant", "cosine", "one-cycle"):
        short = OptimizerConfig(learning_rate=0.1, schedule=schedule, warmup=0.5)
        assert all(0 <= learning_rate(step, steps, short) <= 0.1 for steps in (1, 2, 3) for step in range(steps))


@pytest.fixture(scope="module")
def staged() -> StagedCascade:
    module: StagedCascade = built("digits-staged", "model.width=32").module
    return module


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_settings_reach_the_optimiser_and_heads_have_a_learning_rate_of_their_own(staged: StagedCascade, name: str) -> None:
    momentum = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    config = OptimizerConfig(name=name, learning_rate=0.4, head_learning_rate=0.25, weight_decay=0.2, **momentum)
    optimizer = build_optimizer(staged, config)
    trunk, heads = optimizer.param_groups
    assert type(optimizer).__name__.lower() == name
    assert (trunk["lr"], heads["lr"], trunk["weight_decay"]) == (0.4, 0.1, 0.2)
    assert {key: trunk[key] for key in momentum} == momentum
    images = Batch(torch.arange(2), {}, (torch.randn(2, 1, 8, 8), torch.tensor([0, 1]), None))
    taken(trainer(SID(staged), optimizer), images, rate=0.2)
    assert (trunk["lr"], heads["lr"]) == (0.2, 0.05)
    assert set(heads["params"]) == set(staged.heads.parameters())
    assert set(trunk["params"]) == set(staged.model.parameters())
    optimizer = build_optimizer(staged, replace(config, weight_decay_on="weights"))  # neither biases nor normalisation
    decay = {parameter: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert decay == {parameter: 0.2 if parameter.dim() > 1 else 0.0 for parameter in staged.parameters()}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))


def batch(value: float = 1.0, *, weight: Tensor | None = None, seed: int = 1) -> Batch:
    x = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
    x[0, 0, 0, 0] = value
    return Batch(torch.arange(5), {}, (x, torch.tensor([0, 1, 2, 0, 1]), weight))


def trainer(learner: Learner, optimizer: Optimizer | None = None, config: RunConfig = CONFIG) -> Trainer:
    """By default by gradient descent."""
    optimizer = optimizer or build_optimizer(learner.module, OptimizerConfig(name="sgd"))
    nothing, device = Samples(torch.empty(0), torch.empty(0)), torch.device("cpu")
    splits = Splits(nothing, nothing, nothing, {})
    batches = Batches(task=Parity(), splits=splits, training=config.training, device=device, resident=None)
    setup = Setup(config=config, device=device, splits=splits, batches=batches, learner=learner, optimizer=optimizer)
    return Trainer(setup)


def taken(trainer: Trainer, *batches: Batch, rate: float = 1.0) -> tuple[Sums, str]:
    """Take some steps, read what they measured, and say what was wrong with the first bad one."""
    sums = Sums()
    trainer.begin(0, sums)
    for each in batches:
        trainer.take(each, rate)
    return sums, trainer.read(sums)


def state(module: nn.Module, optimizer: Optimizer) -> list[Tensor]:
    return [*module.state_dict().values(), *(tensor for each in optimizer.state.values() for tensor in each.values())]


@pytest.mark.parametrize("method", [Backprop, Quiet])
def test_a_step_moves_weights_and_counts_right_answers(method: type[Backprop]) -> None:
    module, weight = network(), torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0])
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    numbers, wrong = taken(trainer(method(module)), batch(weight=weight))
    assert not any(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())
    module.load_state_dict(before)
    x, target, _ = batch().stored or ()
    logits = module.train()(x)
    losses = nn.functional.cross_entropy(logits, target, reduction="none")
    assert (numbers.samples, numbers.positions, numbers.skipped_steps, wrong) == (5, 4.5, 0, "")
    assert numbers.correct == [((logits.argmax(-1) == target) * weight).sum().item()]
    assert numbers.stage_losses == pytest.approx([(losses * weight).sum().item()], rel=1e-6)


@pytest.mark.parametrize(
    ("value", "weight", "words"),
    [(math.nan, 1.0, "inputs hold NaN"), (1.0, math.inf, "loss of stage 1 is nan"), (1.0, 1.0, "gradient of 1.bias holds NaN")],
)
def test_nan_is_named_and_leaves_weights_and_running_statistics_alone(
    value: float, weight: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beliefs, "readable", lambda tensor: False)  # as on a device, where no weight is looked at
    module = network()
    module[1].bias.register_hook(lambda gradient: gradient * float("nan"))
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    numbers, wrong = taken(trainer(Backprop(module)), batch(value, weight=torch.full((5,), weight)))
    assert wrong.startswith(f"step 1: the {words}")
    assert (numbers.samples, numbers.positions, numbers.skipped_steps, numbers.correct) == (0, 0.0, 1, [0.0])
    assert all(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())


OPTIMIZERS = [{"name": "sgd", "momentum": 0.9}, {"name": "adam"}, {"name": "adamw", "weight_decay": 0.1}]


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=lambda settings: str(settings["name"]))
@pytest.mark.parametrize("on_non_finite", ["error", "skip"])
def test_a_step_that_is_read_late_is_left_out_all_the_same(settings: dict[str, Any], on_non_finite: str) -> None:
    """As on a device that nobody waits for. After an error nothing moves; nothing is left of skipped steps, even of the first."""
    bad = {"error": [2], "skip": [0, 3, 4]}[on_non_finite]
    everything = [batch(float("nan") if i in bad else 1.0, seed=i) for i in range(7)]
    good = [each for i, each in enumerate(everything) if i not in bad][: 2 if on_non_finite == "error" else None]
    config = replace(CONFIG, training=replace(CONFIG.training, on_non_finite=on_non_finite))
    found = []
    for batches in (everything, good):
        module = network()
        optimizer = build_optimizer(module, OptimizerConfig(**settings))
        found.append((taken(trainer(Backprop(module), optimizer, config), *batches, rate=0.1), state(module, optimizer)))
    ((late, wrong), after), ((usual, nothing), expected) = found
    assert (wrong, nothing) == (f"step {bad[0] + 1}: the inputs hold NaN or infinity", "")
    assert (late.samples, late.stage_losses, late.correct) == (usual.samples, usual.stage_losses, usual.correct)
    assert late.skipped_steps == (5 if on_non_finite == "error" else 3)
    assert all(torch.equal(one, other) for one, other in zip(after, expected, strict=True))


def test_stages_that_are_updated_at_once_stay_as_the_bad_step_left_them() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    cascade = staged_cascade(module, 3, 2, torch.randn(5, 1, 2, 2), head="linear", max_head_share=9.0)
    optimizer = build_optimizer(cascade, OptimizerConfig(name="adam"))
    steps = trainer(SID(cascade, update="stage", optimizer=optimizer), optimizer)
    left = []
    for more in (0, 3):
        sums, wrong = taken(steps, batch(math.nan), *[batch()] * more)
        left.append([tensor.clone() for tensor in state(cascade, optimizer)])
        assert (sums.samples, wrong) == (0, "step 1: the inputs hold NaN or infinity")
    torch.testing.assert_close(*left, rtol=0, atol=0, equal_nan=True)
    assert {int(each["step"]) for each in optimizer.state.values()} == {1}


def test_clipping_bounds_the_step() -> None:
    module = network()
    before = nn.utils.parameters_to_vector(module.parameters()).detach().clone()
    clipped = replace(CONFIG, optimizer=replace(CONFIG.optimizer, clip_gradient=1e-3))
    taken(trainer(Backprop(module), config=clipped), batch())
    moved = nn.utils.parameters_to_vector(module.parameters()) - before
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-3)


class Crossings(TorchDispatchMode):
    """Remembers what reads a value of the meta device, or copies from or to it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        places = {each.device.type for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)}
        if len(places) > 1 or "_local_scalar_dense" in str(function):
            self.found.append(str(function))
        return result


class Elsewhere(Setup):
    """On the meta device, which autocast does not know."""

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)


AUGMENTED = [f"data.augment.{each}" for each in ("crop=1", "flip=true", "cutout=2", "mixup=0.4", "cutmix=1.0")]


@pytest.mark.parametrize("recipe", ["digits", "digits-bp", "digits-staged", "digits-staged-bp"])
def test_the_device_is_neither_read_nor_copied_to_within_a_step(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device stands for an accelerator; fused optimisers do not know it."""
    config, meta = resolve(recipe, ["data.limit=100", "training.batch_size=40", *AUGMENTED]), torch.device("meta")
    usual = set_up(config, torch.device("cpu"))
    usual.learner.module.to(meta)
    batches = replace(usual.batches, device=meta, resident=on_device(usual.splits.train, meta, 0))
    optimizer = build_optimizer(usual.learner.module, usual.config.optimizer)
    monkeypatch.setattr(optimizer, "step", lambda: None)
    settings = {each.name: getattr(usual, each.name) for each in fields(Setup)}
    elsewhere = Elsewhere(**settings | {"device": meta, "batches": batches, "optimizer": optimizer})
    trainer = Trainer(elsewhere)
    trainer.begin(0, Sums())
    for step, each in enumerate(batches.of_epoch(1)):
        with Crossings() as crossings:
            trainer.take(each, 0.1)
        if step:  # the first step makes what stays: constants, sums
            assert crossings.found == []


def test_captured_steps_end_at_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gather, augmentation, both passes, clipping and the optimiser, in an epoch whose last batch is short."""
    monkeypatch.setattr(beliefs, "readable", lambda tensor: False)  # as on a device
    augment = ["data.augment.crop=1", "data.augment.flip=true", "data.augment.cutout=2"]
    training = ["training.batch_size=32", "training.precision=bfloat16", "training.epochs=3"]
    optimizer = ["optimizer.name=sgd", "optimizer.momentum=0.9", "optimizer.clip_gradient=0.5", "optimizer.schedule=cosine"]
    settings = ["data.limit=200", "model.width=32", "learner.alpha_over=epochs", "learner.alpha=linear:1.0:0.2"]
    config, graphs, found = resolve("digits-staged", [*augment, *training, *optimizer, *settings]), ProcessorGraphs(), []
    for captured in (True, False):
        setup = set_up(config, torch.device("cpu"))
        trainer, sums = Trainer(setup), Sums()
        if captured:
            trainer.captured = CapturedStep(trainer.compute, setup.learner, setup.optimizer, recorder=graphs)
        for epoch in (1, 2, 3):
            setup.learner.begin_epoch(epoch)
            trainer.begin(0, sums)
            for step, each in enumerate(setup.batches.of_epoch(epoch)):
                torch.manual_seed(step)
                trainer.take(each, learning_rate(step, 8, config.optimizer))
            assert not trainer.read(sums)
        found.append((sums, state(setup.learner.module, setup.optimizer)))
    (sums, tensors), (expected_sums, expected) = found
    assert (graphs.recorded, graphs.replays) == (1, 3 * (setup.steps - 1) - WARM_UP)
    assert sums == expected_sums
    assert all(map(torch.equal, tensors, expected))


def test_what_cannot_be_captured_names_the_setting_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets are checked here, which reads them."""
    monkeypatch.setattr(Setup, "captures", True)
    monkeypatch.setattr(capture, "recorder_of", lambda device: ProcessorGraphs())
    captured, module = trainer(Backprop(network())), network()
    with pytest.warns(UserWarning, match=r"runs eagerly: .* waits for the device .*\(training\.capture = 'off'"):
        taken(captured, *(batch(seed=seed) for seed in range(6)))
    taken(trainer(Backprop(module)), *(batch(seed=seed) for seed in range(3)))
    taken(trainer(Backprop(module)), *(batch(seed=seed) for seed in range(3, 6)))
    weights = captured.setup.learner.module.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in module.state_dict().items())
