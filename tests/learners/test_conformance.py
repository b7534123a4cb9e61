"""What holds for every method of the registry on every kind of network that it takes; a new file is tested without a change."""

import copy
import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from tests.networks import (
    BATCH,
    CLASSES,
    FEATURES,
    INPUTS,
    assert_same_gradients,
    batch_at,
    gradients,
    restless_extractor,
    rows,
    small_batch,
    small_cascade,
)
from torchsid import SID, Backprop, Learner, SharedCascade, StepOutput, check_locality, staged_cascade
from torchsid.core.layers import Layered
from torchsid.core.learner import fill
from torchsid.core.pitfalls import Lookout
from torchsid.core.rule import Rule
from torchsid.errors import NonFiniteError, TargetError
from torchsid.learners import LEARNERS
from torchsid.models.classifiers.revnet import revnet
from torchsid.models.networks.hopfield import hopfield
from torchsid.models.networks.noprop import noprop
from torchsid.models.networks.noprop_ct import noprop_ct
from torchsid.settings import build, settings_of

SAMPLES = torch.arange(BATCH).flip(0) + 3
LENGTH = {"depth": 3, "epochs": 3}


@cache
def staged(head: str = "auto") -> nn.Module:
    """Three stages behind whose last cut two layers stand, one of which a head may copy."""
    return staged_cascade(layers(3), CLASSES, ["1", "3"], torch.zeros(2, INPUTS), head=head, max_head_share=100.0).double()


def restless(network: str, *, linear_only: bool, head: str = "auto") -> nn.Module | None:
    """A network of a kind, with dropout and, unless it shall be linear, running statistics; None if that kind has none."""
    if network == "cascade":
        return small_cascade(extractor=restless_extractor())
    if network == "layered":
        first, *behind = layers()
        norm = nn.Identity() if linear_only else nn.BatchNorm1d(8)
        return Layered(nn.Sequential(first, norm, nn.Dropout(0.3), *behind), torch.zeros(2, INPUTS)).double()
    trunk = nn.Sequential(restless_extractor(), nn.Linear(FEATURES, CLASSES))
    if network == "hopfield":
        return None
    if network == "reversible":
        return revnet(torch.zeros(2, INPUTS), CLASSES, width=8, levels=1, blocks_per_level=1).double()
    if network == "noprop":
        return noprop(torch.zeros(2, INPUTS), CLASSES, steps=3, width=2).double()
    if network == "noprop-ct":
        return noprop_ct(torch.zeros(2, INPUTS), CLASSES, steps=3, width=2).double()
    cut = partial(staged_cascade, trunk, CLASSES, ["0.3"], torch.zeros(2, INPUTS), head=head, max_head_share=100.0)
    return (cut() if network == "staged" else trunk).double()


def layers(hidden_layers: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = (part for inputs in (INPUTS, *[8] * (hidden_layers - 1)) for part in (nn.Linear(inputs, 8), nn.Tanh()))
    return nn.Sequential(*hidden, nn.Linear(8, CLASSES))


CALM: dict[str, Any] = {"embedding": 5, "width": 2, "norm": "layer", "dropout": 0.0}
NETWORKS = {
    "cascade": lambda: small_cascade(3),
    "staged": lambda: copy.deepcopy(staged()),
    "plain": lambda: nn.Sequential(nn.Linear(INPUTS, 8), nn.Tanh(), nn.Linear(8, CLASSES)).double(),
    "layered": lambda: Layered(layers(), torch.zeros(2, INPUTS)).double(),
    "hopfield": lambda: hopfield(torch.zeros(2, INPUTS), CLASSES, width=8, hidden_layers=2).double(),
    "reversible": lambda: revnet(torch.zeros(2, INPUTS), CLASSES, width=8, levels=1, blocks_per_level=1, norm="layer").double(),
    "noprop": lambda: noprop(torch.zeros(2, INPUTS), CLASSES, steps=3, **CALM).double(),
    "noprop-ct": lambda: noprop_ct(torch.zeros(2, INPUTS), CLASSES, steps=3, **CALM).double(),
}


@dataclass(frozen=True)
class Case:
    """A method with settings, and a kind of network that it takes."""

    name: str
    network: str
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join([self.name, self.network, *map(str, self.settings.values())])

    @property
    def method(self) -> type[Learner]:
        method: type[Learner] = LEARNERS.load(self.name)  # type: ignore[assignment]
        return method

    @property
    def head(self) -> str:
        return getattr(self.method, "head", "") or "auto"

    def learner(
        self, module: nn.Module | None = None, *, prepared: bool = True, change: Callable[[nn.Module], object] = lambda made: None
    ) -> Learner:
        """The same learner at every call, ready for the first step of a run, or, not prepared, of a loop of one's own.

        `change` is done to its network as soon as that is made.
        """
        torch.manual_seed(0)
        module = module or (copy.deepcopy(staged(self.head)) if self.network == "staged" else NETWORKS[self.network]())
        learner: Learner = build(LEARNERS.load(self.name), self.settings, module)
        change(learner.module)
        if not prepared:
            return learner
        optimizer = torch.optim.Adam(learner.module.parameters(), lr=0.02)
        learner.prepare_training(samples=BATCH + 5, epochs=LENGTH["epochs"], optimizer=optimizer, answer=torch.Size([CLASSES]))
        learner.begin_epoch(1)
        return learner


def cases() -> Iterator[Case]:
    """Every method as it is, and with every other choice of one setting, where it has no problem with the network."""
    for name in LEARNERS.names():
        settings = settings_of(LEARNERS.load(name)).values()
        choices = [
            {each.name: value} for each in settings if get_origin(each.annotation) is Literal for value in get_args(each.annotation)
        ]
        defaults = {"name": name} | {each.name: each.default for each in settings}
        for chosen in [{}, *(choice for choice in choices if not choice.items() <= defaults.items())]:
            for network in NETWORKS:
                if not LEARNERS.load(name).problems(defaults | chosen, network=network, **LENGTH):
                    yield Case(name, network, chosen)


CASES = list(cases())
every_method = pytest.mark.parametrize("case", CASES, ids=str)
each_network = pytest.mark.parametrize("case", {case.network: case for case in CASES if not case.settings}.values(), ids=str)
each_method = pytest.mark.parametrize("case", {case.name: case for case in CASES if not case.settings}.values(), ids=str)
every_target = pytest.mark.parametrize(
    ("case", "target"),
    [
        pytest.param(case, target, id=f"{kind} {case}")
        for kind, target in [("classes", small_batch()[1]), ("rows", rows())]
        for case in CASES
        if kind == "classes" or not case.method.needs_classes
    ],
)


def backward(learner: Learner, *batch: Tensor, **more: Any) -> StepOutput:
    """As the learner does, with the same random numbers for all."""
    torch.manual_seed(1)
    return learner.backward(*batch, **more)


def state_of(learner: Learner) -> dict[str, Tensor]:
    return copy.deepcopy({**learner.module.state_dict(), **learner.state()})


def test_every_method_takes_some_network() -> None:
    assert {case.name for case in CASES} == set(LEARNERS.names())
    assert all(isinstance(case.learner(), Learner) for case in CASES)


@every_target
def test_backward_gives_every_parameter_a_gradient_and_steps_nothing(case: Case, target: Tensor) -> None:
    learner = case.learner()
    for _ in range(learner.idle_steps):
        take_step(learner)
    learner.module.zero_grad()
    before = copy.deepcopy(learner.module.state_dict())
    learner.backward(small_batch()[0], target, samples=SAMPLES)
    found = {name: each.grad for name, each in learner.module.named_parameters() if each.requires_grad}
    assert [key for key, gradient in found.items() if gradient is None or not gradient.isfinite().all() or not gradient.any()] == []
    after = dict(learner.module.named_parameters() if learner.moves_buffers else learner.module.state_dict())
    torch.testing.assert_close(after, {name: before[name] for name in after}, rtol=0, atol=0)


@every_method
def test_output_and_hook_tell_what_the_network_believes(case: Case) -> None:
    learner, (x, target) = case.learner(), small_batch()
    expected, told = learner.log_beliefs(x), list[Tensor]()  # [L+1, B, C]
    torch.testing.assert_close(expected[0].exp(), torch.full((BATCH, CLASSES), 1 / CLASSES, dtype=x.dtype))
    assert all(parameter.grad is None for parameter in learner.module.parameters())
    out = learner.backward(x, target, on_belief=lambda stage, log_belief: told.insert(stage, log_belief))
    if learner.answers_in_training:
        torch.testing.assert_close(torch.stack(told), expected[1:])
    torch.testing.assert_close(out.log_belief, told[-1])
    assert isinstance(out, StepOutput)
    losses = learner.losses if isinstance(learner, Rule) else len(told) if learner.trains_stages else 1
    assert out.stage_losses.shape == (losses,)
    assert not any(tensor.requires_grad for tensor in (*told, expected, out.loss, out.stage_losses, out.log_belief))


@pytest.mark.parametrize("case", [case for case in CASES if case.network != "staged" and case.method.takes_positions], ids=str)
def test_positions_count_as_samples_do(case: Case) -> None:
    x, target, weight = batch_at("tokens")  # where the weight is 0 the class is nonsense
    tokens, samples = case.learner(), case.learner()
    if case.network == "cascade":
        tokens = case.learner(SharedCascade(tokens.module.extractor, tokens.module.stages, CLASSES, positions="tokens").double())
    tokens.objective, counted = samples.objective, weight > 0  # each kind of positions has an α of its own by default
    out = backward(tokens, x, target, weight=weight)
    expected = backward(samples, x[counted], target[counted], weight=weight[counted])
    torch.testing.assert_close(out.stage_losses, expected.stage_losses)
    torch.testing.assert_close(out.log_belief[counted], expected.log_belief)
    assert_same_gradients(tokens.module, gradients(samples.module), 1e-10)


@pytest.mark.parametrize("scale", [0.25, torch.tensor(3.0)], ids=["number", "tensor"])
@every_method
def test_the_scale_multiplies_what_is_added_to_the_gradients_and_nothing_else(case: Case, scale: float | Tensor) -> None:
    plain, scaled = case.learner(), case.learner()
    for parameter in trainable(scaled.module):
        parameter.grad = torch.ones_like(parameter)
    expected = backward(plain, *small_batch(), samples=SAMPLES)
    out = backward(scaled, *small_batch(), samples=SAMPLES, scale=scale)
    assert_same_gradients(
        scaled.module, {key: None if g is None else 1 + scale * g for key, g in gradients(plain.module).items()}, 1e-10
    )
    assert torch.equal(out.stage_losses, expected.stage_losses)
    torch.testing.assert_close(state_of(scaled), state_of(plain), rtol=0, atol=0)


@every_target
def test_a_weight_counts_a_sample_so_often_and_zero_nowhere(case: Case, target: Tensor) -> None:
    weighted, expected = case.learner(), case.learner()
    linear = "pcgrad" not in case.settings.values() and weighted.counts_by_weight  # in the samples
    x, often = small_batch()[0], torch.arange(BATCH) % (4 if linear else 2)
    out = backward(weighted, x, target, samples=SAMPLES, weight=0.3 * often.double())
    if case.method.draws_noise:  # a copy of a sample would draw its own: each sample alone, while the others have weight 0
        shares = (often.double() / often.sum()).tolist()
        alone = torch.eye(BATCH)
        parts = [(share, (x, target, SAMPLES), alone[i]) for i, share in enumerate(shares) if share]
    else:
        parts = [(1.0, [each.repeat_interleave(often, 0) for each in (x, target, SAMPLES)], None)]
    losses, kept = torch.zeros_like(out.stage_losses), copy.deepcopy(list(expected.module.buffers()))
    for share, (*batch, samples), weight in parts:
        losses += share * backward(expected, *batch, samples=samples, weight=weight, scale=share).stage_losses
        for buffer, before in zip(expected.module.buffers(), kept, strict=True):
            buffer.copy_(before)
    torch.testing.assert_close(out.stage_losses, losses)
    assert_same_gradients(weighted.module, gradients(expected.module), 1e-10)


@every_method
def test_an_ignored_target_counts_nowhere_and_nothing_but_such_has_no_loss(case: Case) -> None:
    x, target = small_batch()
    ignored = torch.arange(BATCH) % 3 == 0
    learner, expected, without = case.learner(), case.learner(), case.learner()
    out = backward(learner, x, target.masked_fill(ignored, -100), samples=SAMPLES)
    wanted = backward(expected, x, target, samples=SAMPLES, weight=~ignored)
    assert torch.equal(out.stage_losses, wanted.stage_losses)
    assert_same_gradients(learner.module, gradients(expected.module), 0)
    none = backward(without, x, torch.full_like(target, -100), samples=SAMPLES)
    assert none.stage_losses.tolist() == [0.0] * len(none.stage_losses)
    assert not any(parameter.grad is None or parameter.grad.any() for parameter in trainable(without.module))


@pytest.mark.parametrize("learner", [Backprop(NETWORKS["plain"]()), SID(small_cascade(1), alpha=1.0)], ids=["backprop", "sid"])
def test_the_cross_entropy_of_plain_pytorch_with_weights_of_classes_and_ignored_targets(learner: Learner) -> None:
    (x, target), weights = small_batch(), torch.tensor([0.2, 1.0, 3.0, 0.0], dtype=torch.float64)
    target[::4], plain = -100, copy.deepcopy(learner.module)
    loss = F.cross_entropy(plain(x), target, weight=weights)
    loss.backward()
    out = backward(learner, x, target, weight=weights[target.clamp(min=0)])
    torch.testing.assert_close(out.loss, loss.detach())
    assert_same_gradients(learner.module, gradients(plain), 1e-12)


WRONG_TARGETS = [
    torch.full((BATCH,), CLASSES),
    torch.full((BATCH,), -1),
    torch.full((BATCH, CLASSES + 1), 1 / (CLASSES + 1)),
    torch.ones(BATCH, CLASSES),  # no probabilities
    torch.zeros(1, dtype=torch.long),  # one for all
    torch.zeros(BATCH, 1, dtype=torch.long),
    F.one_hot(small_batch()[1], CLASSES),  # of integers
    small_batch()[1].double(),
    small_batch()[1].numpy(),
    small_batch()[1].tolist(),
    torch.zeros(0, dtype=torch.long),
]
WRONG = [
    {"weight": torch.ones(1)},
    {"weight": torch.full((BATCH,), torch.nan)},
    {"weight": [1.0] * BATCH},
    {"weight": torch.ones(BATCH, CLASSES)},
    {"scale": torch.ones(7)},
]


@every_method
def test_losses_reach_as_far_as_the_method_says(case: Case) -> None:
    learner = case.learner()
    if learner.window is None:  # which claims nothing: one loss for all
        with pytest.raises(ValueError, match="has one loss for the whole network"):
            check_locality(learner, *small_batch())
        return
    assert check_locality(learner, *small_batch()).window == learner.window
    assert learner.window > 1 or learner.locks <= {"forward"}


@every_method
def test_what_does_not_fit_is_refused_with_nothing_changed(case: Case) -> None:
    learner, (x, target) = case.learner(), small_batch()
    before = state_of(learner)
    for arguments in [*({"target": wrong} for wrong in WRONG_TARGETS), *WRONG]:
        with pytest.raises(TargetError if "target" in arguments else ValueError):
            learner.backward(x, **{"target": target, "samples": SAMPLES, **arguments})  # type: ignore[arg-type]
        assert all(parameter.grad is None for parameter in learner.module.parameters()), arguments
        torch.testing.assert_close(state_of(learner), before, rtol=0, atol=0)


def trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def optimizers_that_do_not_fit(module: nn.Module) -> Iterator[tuple[Any, str]]:
    first, *others = trainable(module)
    yield torch.optim.SGD(others, lr=0.1), rf"SGD misses 1 of {len(others) + 1} trainable parameters, \w+"
    yield torch.optim.Adam([first, *others, nn.Parameter(torch.zeros(2))]), "Adam holds 1 parameters that are not the network's"
    yield torch.optim.SGD(copy.deepcopy(module).parameters()), "SGD misses"
    yield torch.optim.LBFGS(module.parameters()), "LBFGS computes the loss again"
    yield [torch.optim.SGD(module.parameters())], "optimizer is of type list"


@every_method
def test_what_would_train_nothing_is_refused_with_nothing_changed(case: Case) -> None:
    learner = case.learner()
    before = state_of(learner)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context, pytest.raises(ValueError, match=r"within torch.no_grad\(\) or inference_mode\(\) would train nothing"):
            backward(learner, *small_batch(), samples=SAMPLES)
    for optimizer, says in optimizers_that_do_not_fit(learner.module):
        with pytest.raises(ValueError, match=says):
            learner.prepare_training(samples=BATCH, epochs=2, optimizer=optimizer, answer=torch.Size([CLASSES]))
    torch.testing.assert_close(state_of(learner), before, rtol=0, atol=0)


def spoil(module: nn.Module) -> None:
    trainable(module)[-1].data[0] = torch.inf


def freeze(module: nn.Module) -> None:
    module.requires_grad_(False)


@every_method
def test_a_network_that_cannot_be_trained_is_refused(case: Case) -> None:
    for error, says, change in [
        (NonFiniteError, "NaN or infinity before the first step", spoil),
        (ValueError, r"none of the \d+ parameters is trainable: requires_grad_\(True\)", freeze),
    ]:
        for prepared in (True, False):
            with pytest.raises(error, match=says):
                case.learner(prepared=prepared, change=change).backward(*small_batch())
    refused = case.learner(prepared=False, change=freeze)
    for _ in range(2):  # as long as that is so
        with pytest.raises(ValueError, match="is trainable"):
            refused.backward(*small_batch())


@every_method
def test_an_autocast_around_the_loop_does_as_one_within(case: Case) -> None:
    around, within = case.learner(), case.learner()
    for learner in (around, within):
        learner.module.float()
        batch = [each.float() if each.is_floating_point() else each for each in small_batch()]
        optimizer = torch.optim.SGD(learner.module.parameters(), lr=0.02)
        learner.optimizer = optimizer if learner.optimizer else None

        def step(learner: Learner = learner, optimizer: Any = optimizer, batch: Any = batch) -> None:
            (learner.step if learner.optimizer else learner.backward)(*batch)
            optimizer.step()  # of nothing, after `step`
            optimizer.zero_grad()

        with torch.autocast("cpu", torch.bfloat16, enabled=learner is around):
            learner.module(batch[0])  # weights that are cast without a step count for nothing
            for draw in range(3):
                torch.manual_seed(draw)
                with torch.autocast("cpu", torch.bfloat16):
                    step()
    torch.testing.assert_close(around.module.state_dict(), within.module.state_dict(), rtol=0, atol=0)


def warnings_of(learner: Learner, optimizer: torch.optim.Optimizer, steps: int) -> list[str]:
    """What is said in a loop of one's own, whose optimiser nobody has seen."""
    learner.lookout = Lookout(learner.module, idle_steps=learner.idle_steps)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(steps):
            (learner.step if learner.optimizer else learner.backward)(*small_batch())
            optimizer.step()
    return [str(each.message) for each in told]


@each_method
def test_what_stands_still_while_the_rest_learns_is_named_once(case: Case) -> None:
    learner = case.learner()
    names, parameters = zip(*((name, each) for name, each in learner.module.named_parameters() if each.requires_grad), strict=True)
    (told,) = warnings_of(learner, torch.optim.SGD(parameters[1:], lr=0.1), 6 + learner.idle_steps)
    assert told.startswith(f"1 of {len(names)} trainable parameters have gradients and never move, {names[0]}: make the optimiser")
    assert not warnings_of(learner, torch.optim.Adam(parameters, fused=True), 6)


@each_network
def test_an_optimiser_of_another_network_is_told_once(case: Case) -> None:
    (told,) = warnings_of(case.learner(), torch.optim.SGD(case.learner().module.parameters(), lr=0.1), 55)
    assert told == "no parameter has moved in 50 calls of backward: is the optimiser that of this network, and does it step?"


def test_a_learning_rate_of_zero_is_told_once() -> None:
    (case,) = (case for case in CASES if "stage" in case.settings.values())
    learner = case.learner()
    learner.optimizer = torch.optim.SGD(learner.module.parameters(), lr=0.0)
    assert warnings_of(learner, learner.optimizer, 12) == ["no parameter has moved in 10 calls of backward: the learning rate is 0"]


@each_method
def test_a_step_in_evaluation_mode_is_told_once_where_it_makes_a_difference(case: Case) -> None:
    linear_only = getattr(LEARNERS.load(case.name), "linear_only", False)
    quiet, module = case.learner(), restless(case.network, linear_only=linear_only, head=case.head)
    quiet.module.eval()
    assert not warnings_of(quiet, torch.optim.SGD(quiet.module.parameters(), lr=0.1), 3)
    if module is not None:
        learner = case.learner(module)
        learner.module.eval()
        (told,) = warnings_of(learner, torch.optim.SGD(learner.module.parameters(), lr=0.1), 3)
        assert told.startswith("the network: in evaluation mode, without dropout")


def take_step(learner: Learner) -> StepOutput:
    """As the training loop does."""
    optimizer = learner.optimizer or torch.optim.Adam(learner.module.parameters(), lr=0.02)
    optimizer.zero_grad()
    out = (learner.step if learner.optimizer else learner.backward)(*small_batch(), samples=SAMPLES)
    if not learner.optimizer:
        optimizer.step()
    return out


@every_method
def test_at_inference_it_is_an_ordinary_module(case: Case) -> None:
    learner, (x, _) = case.learner(), small_batch()
    take_step(learner)
    module = learner.module.eval()
    fresh = case.learner().module.eval()
    fresh.load_state_dict(module.state_dict())
    del learner
    with torch.no_grad():
        logits = module(x)
        torch.testing.assert_close([copy.deepcopy(module)(x), fresh(x), module(x)], [logits] * 3, rtol=0, atol=0)
        torch.testing.assert_close(module(x[2:5]), logits[2:5])  # whatever else is in the batch
    assert logits.shape == (BATCH, CLASSES)


@every_method
def test_its_state_is_all_that_it_remembers(case: Case) -> None:
    learner, other = case.learner(), case.learner()
    assert bool(learner.state()) == (learner.remembers_samples or learner.delays_gradients or learner.retains)
    assert all(":" in name for name in learner.state())  # which tells them from weights
    for _ in range(2):
        take_step(learner)
    other.module.load_state_dict(learner.module.state_dict())
    for name, held in other.state().items():
        fill(held, learner.state()[name])
    learner.module.zero_grad()
    outputs = [backward(each, *small_batch(), samples=SAMPLES) for each in (learner, other)]
    assert torch.equal(*(out.stage_losses for out in outputs))
    assert_same_gradients(other.module, gradients(learner.module), 0)
    torch.testing.assert_close(state_of(other), state_of(learner), rtol=0, atol=0)


def tensors_alive() -> int:
    """The tensors made since `gc.freeze`."""
    gc.collect()
    return sum(issubclass(type(each), Tensor) for each in gc.get_objects())


@every_method
def test_steps_bring_the_belief_to_the_target_and_leave_nothing_behind(case: Case) -> None:
    learner, (_, target) = case.learner(), small_batch()
    beliefs, alive = list[float](), list[int]()
    gc.freeze()
    for step in range(1, 17):
        beliefs.append(float(take_step(learner).log_belief.gather(1, target.unsqueeze(1)).exp().mean()))
        if step in (8, 16):  # when a pipeline is full
            alive.append(tensors_alive())
    gc.unfreeze()
    assert beliefs[-1] > 1.2 * beliefs[0]
    assert alive[0] == alive[1]


@pytest.mark.parametrize("case", [case for case in CASES if case.network == "cascade"], ids=str)
def test_one_forward_pass_for_running_statistics(case: Case) -> None:
    cascade = small_cascade(extractor=restless_extractor())
    case.learner(cascade).backward(*small_batch(), samples=SAMPLES)
    assert cascade.extractor[1].num_batches_tracked == 1


BEYOND = {
    Ge: lambda bound: bound.ge - 1e-6,
    Gt: lambda bound: bound.gt,
    Le: lambda bound: bound.le + 1e-6,
    Lt: lambda bound: bound.lt,
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_settings_out_of_their_ranges_are_refused(case: Case) -> None:
    method, module = LEARNERS.load(case.name), case.learner().module
    for setting in settings_of(method).values():
        for bound in getattr(setting.annotation, "__metadata__", ()):
            if type(bound) in BEYOND:
                with pytest.raises(ValueError, match=rf"{setting.name}=.*: allowed is "):
                    build(method, {setting.name: BEYOND[type(bound)](bound)}, module)
