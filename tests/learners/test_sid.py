"""`learner.backward(x, target)` takes the place of `loss.backward()`: whatever surrounds it stays as it was."""

import copy
import gc
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.cut.classifiers import cut, images
from tests.networks import (
    BATCH,
    CLASSES,
    INPUTS,
    assert_same_gradients,
    gradients,
    normed_cascade,
    restless_extractor,
    small_batch,
    small_cascade,
    staged_cascade,
)
from torchsid import SID, Cascade
from torchsid.core import schedules

every_schedule = pytest.mark.parametrize("schedule", schedules.names())
every_network = pytest.mark.parametrize("make", [small_cascade, normed_cascade])


def batch_of(size: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(size, INPUTS, dtype=dtype), torch.randint(CLASSES, (size,))


# Optimisers


@pytest.mark.parametrize(
    "new_optimizer",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, foreach=True),
        lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.01, fused=True),
        lambda parameters: torch.optim.RMSprop(parameters, lr=0.002),
    ],
    ids=["SGD", "SGD foreach", "Adam", "AdamW fused", "RMSprop"],
)
@every_schedule
def test_any_optimizer(schedule: str, new_optimizer: Callable[..., torch.optim.Optimizer]) -> None:
    cascade, batch = small_cascade().float(), batch_of(32)
    learner, optimizer = SID(cascade, schedule=schedule), new_optimizer(cascade.parameters())
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(learner.backward(*batch).loss.item())
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


@every_schedule
def test_schedules_take_the_same_path(schedule: str) -> None:
    """Ten Adam steps end at the same weights: float64, so that rounding has no time to grow."""
    x, target = small_batch()

    def trained(schedule: str) -> dict[str, Tensor]:
        torch.manual_seed(5)
        cascade = small_cascade(extractor=restless_extractor())
        learner, optimizer = SID(cascade, schedule=schedule), torch.optim.Adam(cascade.parameters())
        for _ in range(10):
            optimizer.zero_grad()
            learner.backward(x, target)
            optimizer.step()
        return cascade.state_dict()

    torch.testing.assert_close(trained(schedule), trained("streaming"), atol=1e-8, rtol=1e-8)


# Gradient accumulation and clipping


@pytest.mark.parametrize("sizes", [(8, 8, 8, 8), (8, 8, 8, 5)], ids=["even", "ragged"])
@every_network
@every_schedule
def test_small_batches_add_up_to_a_large_one(schedule: str, make: Callable[[], Cascade], sizes: tuple[int, ...]) -> None:
    total = sum(sizes)
    x, target = batch_of(total)
    cascade = make().float()
    learner = SID(cascade, schedule=schedule)
    learner.backward(x, target)
    expected = gradients(cascade)
    cascade.zero_grad()
    for part, labels in zip(x.split(sizes), target.split(sizes), strict=True):
        learner.backward(part, labels, scale=len(part) / total)
    assert_same_gradients(cascade, expected, 1e-6)


@every_schedule
def test_gradients_can_be_clipped(schedule: str) -> None:
    cascade = small_cascade()
    SID(cascade, schedule=schedule).backward(*small_batch())
    before = gradients(cascade)
    norm = nn.utils.clip_grad_norm_(cascade.parameters(), 0.1)
    assert norm > 0.1
    scale = 0.1 / (norm.item() + 1e-6)
    assert_same_gradients(cascade, {name: scale * gradient for name, gradient in before.items()}, 1e-12)


# Mixed precision


@every_network
@every_schedule
def test_a_gradient_scaler(schedule: str, make: Callable[[], Cascade]) -> None:
    cascade, batch = make().float(), batch_of(16)
    learner, optimizer = SID(cascade, schedule=schedule), torch.optim.SGD(cascade.parameters(), lr=0.0)
    learner.backward(*batch)
    expected = gradients(cascade)
    optimizer.zero_grad()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    learner.backward(*batch, scale=scaler.scale(torch.ones(())))
    assert cascade.extractor[0].weight.grad.abs().max() > 100 * expected["extractor.0.weight"].abs().max()
    scaler.unscale_(optimizer)
    assert_same_gradients(cascade, expected, 1e-6)
    scaler.step(optimizer)
    scaler.update()


@every_network
@every_schedule
def test_bfloat16_autocast(schedule: str, make: Callable[[], Cascade]) -> None:
    cascade, (x, target) = make().float(), batch_of(64)
    learner = SID(cascade, schedule=schedule)
    expected = learner.backward(x, target)
    exact = gradients(cascade)
    cascade.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        output = learner.backward(x, target)
    assert output.log_belief.dtype == torch.float32
    torch.testing.assert_close(output.log_belief, expected.log_belief, atol=0.05, rtol=0.05)
    rounded = gradients(cascade)
    assert all(gradient.dtype == torch.float32 for gradient in rounded.values())
    for part in ("extractor", "stages.0", "stages.1", "stages.2", "stages.3"):
        found, wanted = (torch.cat([g[name].flatten() for name in g if name.startswith(part)]) for g in (rounded, exact))
        assert (found - wanted).norm() < 0.1 * wanted.norm(), part


@every_network
@every_schedule
def test_autocast_around_measuring_and_training(schedule: str, make: Callable[[], Cascade]) -> None:
    """Weights that a pass without gradients has cast must not be used where gradients are wanted."""
    cascade, (x, target) = make().float(), batch_of(16)
    learner = SID(cascade, schedule=schedule)
    with torch.autocast("cpu", torch.bfloat16):
        learner.log_beliefs(x)
        learner.backward(x, target)
        learner.backward(x, target)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in cascade.parameters())


@every_network
@every_schedule
def test_a_module_in_bfloat16(schedule: str, make: Callable[[], Cascade]) -> None:
    cascade, (x, target) = make().bfloat16(), batch_of(16)
    output = SID(cascade, schedule=schedule).backward(x.bfloat16(), target)
    assert output.log_belief.dtype == torch.float32
    assert all(parameter.grad.dtype == torch.bfloat16 for parameter in cascade.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in cascade.parameters())


# Compilation


def compile_parts(cascade: Cascade) -> None:
    cascade.extractor.compile(backend="aot_eager")
    for stage in cascade.stages:
        stage.compile(backend="aot_eager")


def compile_whole(cascade: Cascade) -> None:
    cascade.compile(backend="aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("compile_it", [compile_parts, compile_whole])
@every_schedule
def test_compiled_modules_have_the_same_keys_and_gradients(schedule: str, compile_it: Callable[[Cascade], None]) -> None:
    x, target = batch_of(8)
    cascade = small_cascade(2).float()
    eager = copy.deepcopy(cascade)
    SID(eager, schedule=schedule).backward(x, target)
    compile_it(cascade)
    assert list(cascade.state_dict()) == list(eager.state_dict())
    SID(cascade, schedule=schedule).backward(x, target)
    assert_same_gradients(cascade, gradients(eager), 1e-5)
    with torch.no_grad():
        torch.testing.assert_close(cascade(x), eager(x), atol=1e-5, rtol=1e-5)


# Weights, losses, memory


@pytest.mark.parametrize("make", [small_cascade, normed_cascade, staged_cascade])
def test_a_weight_for_each_stage(make: Callable[[], Cascade]) -> None:
    cascade, batch = make(), small_batch()
    learner = SID(cascade)
    plain = learner.backward(*batch)
    expected = gradients(cascade)
    cascade.zero_grad()
    weighted = learner.backward(*batch, scale=torch.tensor([0.0, 1.0, 2.0, 0.5]))
    assert torch.equal(weighted.stage_losses, plain.stage_losses)
    for i, factor in enumerate([0.0, 1.0, 2.0, 0.5]):
        for name, parameter in cascade.stages[i].named_parameters():
            torch.testing.assert_close(parameter.grad, factor * expected[f"stages.{i}.{name}"])


@every_schedule
def test_memory_does_not_grow(schedule: str) -> None:
    cascade, batch = small_cascade().float(), batch_of(8)
    learner, optimizer = SID(cascade, schedule=schedule), torch.optim.SGD(cascade.parameters(), lr=0.01)

    def tensors_after(steps: int) -> int:
        for _ in range(steps):
            optimizer.zero_grad()
            learner.backward(*batch)
            optimizer.step()
        gc.collect()
        return sum(issubclass(type(item), Tensor) for item in gc.get_objects())

    before = tensors_after(2)
    assert tensors_after(200) <= before


@every_schedule
def test_beliefs_of_the_output_hold_no_graph(schedule: str) -> None:
    output = SID(small_cascade(), schedule=schedule).backward(*small_batch())
    assert output.log_belief.grad_fn is None
    assert output.stage_losses.grad_fn is None


@every_schedule
def test_inference_mode_inputs(schedule: str) -> None:
    """A batch that was prepared under `inference_mode` cannot be saved for backward; a clone can."""
    with torch.inference_mode():
        x = torch.randn(8, INPUTS)
    cascade = small_cascade().float()
    SID(cascade, schedule=schedule).backward(x.clone(), batch_of(8)[1])
    assert all(parameter.grad is not None for parameter in cascade.parameters())


# Settings


def test_a_refused_target_leaves_running_statistics_alone() -> None:
    cascade = small_cascade(extractor=restless_extractor())
    with pytest.raises(ValueError, match="allowed are 0 to"):
        SID(cascade).backward(small_batch()[0], small_batch()[1] + CLASSES)
    assert cascade.extractor[1].num_batches_tracked == 0


def test_reverse_with_one_hot_labels_names_the_remedy() -> None:
    with pytest.raises(ValueError, match="set label_smoothing above 0"):
        SID(small_cascade(), direction="reverse").backward(*small_batch())


CLASHES: list[tuple[str, dict[str, object], str]] = [
    ("plain", {}, "name"),
    ("cascade", {"window": 2}, "window"),
    ("cascade", {"update": "stage"}, "update"),
    ("cascade", {"schedule": "batch"}, "schedule"),
    ("cascade", {"combine": "add"}, "combine"),
    ("cascade", {"alpha_over": "epoch"}, "alpha_over"),
    ("cascade", {"teachers": "yesterday"}, "teachers"),
    ("cascade", {"schedule": "two_phase", "teachers": "last-epoch"}, "schedule"),
    ("cascade", {"alpha": [0.5, 0.5]}, "alpha"),
    ("cascade", {"alpha": 0.5, "alpha_over": "epochs"}, "alpha_over"),
    ("cascade", {"direction": "backward"}, "direction"),
    ("staged", {"schedule": "batched"}, "schedule"),
    ("staged", {"combine": "pcgrad"}, "combine"),
    ("staged", {"window": 0}, "window"),
    ("staged", {"window": 4}, "window"),
    ("staged", {"window": 2, "update": "stage"}, "update"),
]


@pytest.mark.parametrize(("network", "settings", "first"), CLASHES)
def test_clashing_settings_are_refused_by_their_names(network: str, settings: dict[str, object], first: str) -> None:
    (problem,) = SID.problems(settings, network=network, depth=3, epochs=9)
    assert problem.startswith(first)
    if network != "plain":
        with pytest.raises(ValueError, match=re.escape(problem)):
            SID(cut("mlp") if network == "staged" else small_cascade(3), **settings)  # type: ignore[arg-type]


def test_all_problems_are_told_at_once_and_defaults_have_none() -> None:
    assert SID.problems({}, network="cascade", depth=3, epochs=1) == []
    assert SID.problems({}, network="staged", depth=3, epochs=1) == []
    found = SID.problems(
        {"schedule": "batched", "combine": "pcgrad", "window": 9, "alpha": -1}, network="staged", depth=3, epochs=1
    )
    assert [problem.split()[0] for problem in found] == ["alpha", "schedule", "combine", "window"]


def test_what_only_a_run_can_know_is_no_error_of_the_constructor() -> None:
    over_epochs = {"alpha": "linear:1:0", "alpha_over": "epochs"}
    (problem,) = SID.problems(over_epochs, network="cascade", depth=3, epochs=1)
    assert problem.startswith("alpha_over")
    (problem,) = SID.problems({"direction": "reverse"}, network="cascade", depth=3, epochs=1)
    assert problem.startswith("direction")
    SID(small_cascade(3), direction="reverse", **over_epochs)  # type: ignore[arg-type]  # for rows with full support


# What a training loop tells


def test_alpha_moves_over_the_epochs_as_their_numbers_say() -> None:
    cascade = small_cascade()
    learner = SID(cascade, alpha="linear:1.0:0.2", alpha_over="epochs")
    assert learner.objective.alphas(2) == pytest.approx((0.2, 0.2))  # what the finished network has learnt from
    learner.prepare_training(samples=BATCH, epochs=5, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.1))
    for epoch, alpha in ((3, 0.6), (1, 1.0), (5, 0.2)):
        learner.begin_epoch(epoch)
        assert learner.objective.alphas(4) == pytest.approx([alpha] * 4)
    one = SID(cascade, alpha="linear:1.0:0.2")
    one.begin_epoch(2)
    assert one.objective.alphas(4) == SID(cascade, alpha="linear:1.0:0.2").objective.alphas(4)


def test_only_update_by_stage_takes_the_optimizer() -> None:
    for update in ("together", "stage"):
        cascade = cut("mlp")
        learner, optimizer = SID(cascade, update=update), torch.optim.SGD(cascade.parameters(), lr=0.1)  # type: ignore[arg-type]
        learner.prepare_training(samples=1, epochs=1, optimizer=optimizer)
        assert learner.optimizer is (optimizer if update == "stage" else None)


@pytest.mark.parametrize("make", [small_cascade, lambda: cut("mlp")], ids=["shared", "staged"])
def test_teachers_of_the_last_epoch(make: Callable[[], Cascade]) -> None:
    """In the first epoch every stage learns from the prior, in the second from what the previous one answered in the first."""
    cascade = make()
    x, target = small_batch() if isinstance(cascade, Cascade) else images("mlp")
    learner = SID(cascade, teachers="last-epoch")
    samples = torch.arange(len(x))
    with pytest.raises(ValueError, match="prepare_training"):
        learner.backward(x, target, samples=samples)
    learner.prepare_training(samples=len(x), epochs=2, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.1))
    first: list[Tensor] = []
    learner.backward(x, target, samples=samples, on_belief=lambda stage, log_belief: first.append(log_belief))
    remembered = list(learner.state().values())
    prior = cascade.prior(target)
    for held, belief in zip(remembered, [prior, *first], strict=False):
        torch.testing.assert_close(held.to(belief), belief)
    cascade.zero_grad()
    learner.backward(x, target)  # which does not say what it sees
    assert all(map(torch.equal, remembered, learner.state().values()))


@pytest.mark.parametrize("by", ["boundary", "graph"])
def test_a_staged_cascade_accumulates_small_batches(by: str) -> None:
    cascade, (x, target) = cut("mlp", by=by), images("mlp")
    learner = SID(cascade)
    learner.backward(x, target)
    expected = gradients(cascade)
    cascade.zero_grad()
    for part, labels in zip(x.split(3), target.split(3), strict=True):
        learner.backward(part, labels, scale=len(part) / len(x))
    assert_same_gradients(cascade, expected, 1e-12)


def test_memory_of_a_staged_cascade_does_not_grow() -> None:
    cascade, batch = cut("mlp"), images("mlp")
    learner = SID(cascade, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.01))

    def tensors_after(steps: int) -> int:
        for _ in range(steps):
            learner.step(*batch)
        gc.collect()
        return sum(issubclass(type(item), Tensor) for item in gc.get_objects())

    before = tensors_after(2)
    assert tensors_after(50) <= before
