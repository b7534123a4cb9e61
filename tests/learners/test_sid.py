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
    SLOTS,
    assert_same_gradients,
    batch_at,
    gradients,
    normed_cascade,
    restless_extractor,
    small_batch,
    small_cascade,
)
from torchsid import SID, Cascade, shared_cascade
from torchsid.core import schedules
from torchsid.tasks.images import Images

RUNS: dict[str, tuple[Callable[[], Cascade], str]] = {
    **{name: (small_cascade, name) for name in schedules.names()},
    "own heads": (normed_cascade, "streaming"),
    "staged by boundary": (lambda: cut("mlp"), "streaming"),
    "staged by graph": (lambda: cut("mlp", by="graph"), "streaming"),
}
every_run = pytest.mark.parametrize(("make", "schedule"), RUNS.values(), ids=RUNS)


def learner_and_batch(make: Callable[[], Cascade], schedule: str, dtype: torch.dtype = torch.float32) -> tuple[SID, Tensor, Tensor]:
    cascade = make().to(dtype)
    x, target = images("mlp") if hasattr(cascade, "model") else small_batch()
    return SID(cascade, schedule=schedule), x.to(dtype), target  # type: ignore[arg-type]


@every_run
def test_an_ordinary_loop_with_clipped_gradients(make: Callable[[], Cascade], schedule: str) -> None:
    learner, x, target = learner_and_batch(make, schedule)
    optimizer = torch.optim.AdamW(learner.module.parameters(), lr=0.01, fused=True)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(learner.backward(x, target).loss.item())
        nn.utils.clip_grad_norm_(learner.module.parameters(), 5.0)
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


@every_run
def test_bfloat16_autocast(make: Callable[[], Cascade], schedule: str) -> None:
    """Also of a network that was measured under it: weights cast without gradients must not be used where they are wanted."""
    learner, x, target = learner_and_batch(make, schedule)
    expected = learner.backward(x, target)
    exact = gradients(learner.module)
    learner.module.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        learner.log_beliefs(x)
        output = learner.backward(x, target)
    assert output.log_belief.dtype == torch.float32
    torch.testing.assert_close(output.log_belief, expected.log_belief, atol=0.1, rtol=0.1)
    rounded = gradients(learner.module)
    assert all(gradient.dtype == torch.float32 for gradient in rounded.values())
    found, wanted = (torch.cat([each.flatten() for each in grads.values()]) for grads in (rounded, exact))
    assert (found - wanted).norm() < 0.1 * wanted.norm()


@pytest.mark.slow
def test_compiled_modules_have_the_same_keys_and_gradients() -> None:
    learner, x, target = learner_and_batch(lambda: small_cascade(2), "streaming")
    eager = copy.deepcopy(learner.module)
    SID(eager).backward(x, target)
    for part in (learner.module.extractor, *learner.module.stages, learner.module):
        part.compile(backend="aot_eager")
    assert list(learner.module.state_dict()) == list(eager.state_dict())
    learner.backward(x, target)
    assert_same_gradients(learner.module, gradients(eager), 1e-5)
    torch.testing.assert_close(learner.module(x), eager(x), atol=1e-5, rtol=1e-5)


def test_memory_does_not_grow() -> None:
    learner, x, target = learner_and_batch(*RUNS["staged by graph"])
    learner.optimizer = torch.optim.SGD(learner.module.parameters(), lr=0.01)

    def tensors_after(steps: int) -> int:
        for _ in range(steps):
            output = learner.step(x, target)
            assert output.log_belief.grad_fn is output.stage_losses.grad_fn is None
        gc.collect()
        return sum(issubclass(type(item), Tensor) for item in gc.get_objects())

    before = tensors_after(2)
    assert tensors_after(10) <= before


def test_a_refused_target_leaves_running_statistics_alone() -> None:
    cascade = small_cascade(extractor=restless_extractor())
    with pytest.raises(ValueError, match="allowed are 0 to"):
        SID(cascade).backward(small_batch()[0], small_batch()[1] + CLASSES)
    assert cascade.extractor[1].num_batches_tracked == 0
    with pytest.raises(ValueError, match="scale has shape"):
        SID(cascade).backward(*small_batch(), scale=torch.ones(3))
    with pytest.raises(ValueError, match="set label_smoothing above 0"):
        SID(cascade, direction="reverse").backward(*small_batch())


@pytest.mark.parametrize(("stage", "direction", "label_smoothing"), [("plain", "forward", 0.0), ("residual", "reverse", 0.1)])
def test_every_stage_learns_to_read_digits(stage: str, direction: str, label_smoothing: float) -> None:
    splits = Images().load(0)
    x, held_out = (part.inputs.flatten(1) / 255 for part in (splits.train, splits.test))
    cascade = shared_cascade(nn.Sequential(nn.Linear(64, 64), nn.ReLU()), 10, 4, hidden=32, stage=stage, feature_dim=64)
    learner = SID(cascade, direction=direction, label_smoothing=label_smoothing)
    optimizer = torch.optim.Adam(cascade.parameters(), lr=3e-3)
    for batch in torch.cat([torch.randperm(len(x)) for _ in range(8)]).split(64):
        optimizer.zero_grad()
        learner.backward(x[batch], splits.train.target[batch])
        optimizer.step()
    accuracy = (cascade.log_beliefs(held_out)[1:].argmax(-1) == splits.test.target).float().mean(-1)  # [L]
    assert accuracy[-1] >= 0.9
    assert (accuracy >= 0.85).all()


# Settings


CLASHES: list[tuple[str, dict[str, object], str]] = [
    ("plain", {}, "name"),
    ("cascade", {"window": 2}, "window"),
    ("cascade", {"update": "stage"}, "update"),
    ("cascade", {"schedule": "two_phase", "teachers": "last-epoch"}, "schedule"),
    ("cascade", {"alpha": [0.5, 0.5]}, "alpha"),
    ("cascade", {"alpha": 0.5, "alpha_over": "epochs"}, "alpha_over"),
    ("staged", {"schedule": "batched"}, "schedule"),
    ("staged", {"combine": "pcgrad"}, "combine"),
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


def test_misspelt_names_are_refused_all_at_once() -> None:
    wrong = {"schedule": "steaming", "combine": "add", "alpha_over": "epoch", "teachers": "yesterday", "update": "once"}
    with pytest.raises(ValueError, match=r"did you mean 'streaming'") as caught:
        SID(small_cascade(3), direction="backward", **wrong)  # type: ignore[arg-type]
    assert all(f"unknown {name} " in str(caught.value) for name in [*wrong, "direction"])
    with pytest.raises(ValueError, match=r"temperature=0.0: .*; label_smoothing=2.0: .*; window=0: "):
        SID(small_cascade(3), temperature=0.0, label_smoothing=2.0, window=0)


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


def test_the_last_stage_of_a_staged_cascade_answers_for_itself_by_default() -> None:
    staged = cut("mlp")
    assert SID(staged).objective.alphas(staged.depth) == (*[0.5] * (staged.depth - 1), 1.0)
    assert set(SID(staged, alpha=0.5).objective.alphas(staged.depth)) == {0.5}
    assert set(SID(small_cascade()).objective.alphas(3)) == {0.5}


def test_alpha_moves_over_the_epochs_as_their_numbers_say() -> None:
    cascade = small_cascade()
    learner = SID(cascade, alpha="linear:1.0:0.2", alpha_over="epochs")
    assert learner.objective.alphas(2) == pytest.approx((0.2, 0.2))  # what the finished network has learnt from
    learner.prepare_training(
        samples=BATCH, epochs=5, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.1), answer=torch.Size([CLASSES])
    )
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
        learner.prepare_training(samples=1, epochs=1, optimizer=optimizer, answer=torch.Size([5]))
        assert learner.optimizer is (optimizer if update == "stage" else None)


@pytest.mark.parametrize("which", ["shared", "staged", "slots"])
def test_teachers_of_the_last_epoch(which: str) -> None:
    """In the first epoch every stage learns from the prior, in the second from what the previous one answered in the first."""
    cascade = cut("mlp") if which == "staged" else small_cascade(positions=(SLOTS,) if which == "slots" else ())
    x, target = images("mlp") if which == "staged" else batch_at((SLOTS,))[:2] if which == "slots" else small_batch()
    target = target.clamp(min=0)
    learner = SID(cascade, teachers="last-epoch")
    samples = torch.arange(len(x))
    with pytest.raises(ValueError, match="prepare_training"):
        learner.backward(x, target, samples=samples)
    optimizer = torch.optim.SGD(cascade.parameters(), lr=0.1)
    answer = torch.Size([*target.shape[1:], cascade.num_classes])
    learner.prepare_training(samples=len(x), epochs=2, optimizer=optimizer, answer=answer)
    first: list[Tensor] = []
    learner.backward(x, target, samples=samples, on_belief=lambda stage, log_belief: first.append(log_belief))
    remembered = list(learner.state().values())
    assert len(remembered) == cascade.depth
    for held, belief in zip(remembered, [cascade.prior(x), *first], strict=False):
        torch.testing.assert_close(held.to(belief), belief)
    expected = SID(cascade).backward(x, target)  # by other teachers
    assert not torch.equal(learner.backward(x, target, samples=samples).stage_losses[1:], expected.stage_losses[1:])
    before = [held.clone() for held in remembered]
    torch.testing.assert_close(learner.backward(x, target).stage_losses, expected.stage_losses)  # does not say what it sees
    assert all(map(torch.equal, before, learner.state().values()))
