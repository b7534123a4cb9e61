import pytest
import torch
from torch import nn

from tests.networks import (
    CLASSES,
    FEATURES,
    INPUTS,
    TrunkStage,
    assert_same_gradients,
    gradients,
    normed_cascade,
    small_batch,
    small_cascade,
)
from torchsid import SID, SharedCascade, Stage
from torchsid.core import batched
from torchsid.errors import ScheduleError
from torchsid.heads import MLPHead


def backward(cascade: SharedCascade) -> None:
    SID(cascade.double(), schedule="batched").backward(*small_batch())


def cascade_of(*stages: Stage) -> SharedCascade:
    return SharedCascade(nn.Linear(INPUTS, FEATURES), stages, CLASSES)


def mlp_stage(hidden: int = 7, **options: str) -> Stage:
    return Stage(MLPHead(FEATURES, CLASSES, hidden=hidden, **options))  # type: ignore[arg-type]


class Subclass(MLPHead):
    """May compute anything."""


def tied() -> SharedCascade:
    cascade = small_cascade()
    cascade.stages[3].head.output.weight = cascade.stages[1].head.output.weight
    return cascade


def with_other_linear() -> SharedCascade:
    cascade = small_cascade()
    cascade.stages[1].head.output = nn.utils.parametrizations.weight_norm(cascade.stages[1].head.output)
    return cascade


def hooked() -> SharedCascade:
    cascade = small_cascade()
    cascade.stages[1].head.hidden.register_forward_hook(lambda *_: None)
    return cascade


@pytest.mark.parametrize(
    ("cascade", "problem"),
    [
        (cascade_of(mlp_stage(), mlp_stage(), mlp_stage(hidden=8)), "stage 3 differs in structure from those before it"),
        (cascade_of(mlp_stage(), mlp_stage(kind="residual")), "stage 2 differs"),
        (cascade_of(mlp_stage(), mlp_stage(hidden=8), TrunkStage()), "stage 2 differs.*stage 3 is no plain stage"),
        (cascade_of(mlp_stage(), Stage(Subclass(FEATURES, CLASSES, hidden=7))), "stage 2 is no plain stage"),
        (normed_cascade(), "stage 1 is no plain stage"),
        (with_other_linear(), "stage 2 is no plain stage"),
        (tied(), "stages 2 and 4 share parameters"),
        (hooked(), "stage 2 is no plain stage .* without hooks"),
    ],
)
def test_other_stages_are_refused_and_untouched(cascade: SharedCascade, problem: str) -> None:
    with pytest.raises(ScheduleError, match=rf"{problem}.*use 'streaming'"):
        backward(cascade)
    assert all(parameter.grad is None for parameter in cascade.parameters())


def test_half_precision_is_refused_and_autocast_is_not() -> None:
    x, target = small_batch(torch.float32)
    with pytest.raises(ScheduleError, match="in single precision"):
        SID(small_cascade().bfloat16(), schedule="batched").backward(x.bfloat16(), target)
    cascade = small_cascade().float()
    with torch.autocast("cpu", torch.bfloat16):
        SID(cascade, schedule="streaming").backward(x, target)
        expected = gradients(cascade)
        cascade.zero_grad()
        SID(cascade, schedule="batched").backward(x, target)
    assert_same_gradients(cascade, expected, 0.02)


def test_the_block_is_a_matter_of_speed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    cascade = small_cascade(5)
    learner = SID(cascade, schedule="batched", direction="reverse", label_smoothing=0.1)
    learner.backward(*small_batch())
    expected = gradients(cascade)
    for block in (1, 2, 5, 64):
        monkeypatch.setattr(batched, "BLOCK", block)
        cascade.zero_grad()
        learner.backward(*small_batch())
        assert_same_gradients(cascade, expected, 1e-12)


def test_a_second_step_does_not_write_into_another_stages_gradient() -> None:
    """A fresh `.grad` is a view of the stack's; adding to one must not change its neighbours."""
    cascade = small_cascade()
    backward(cascade)
    before = gradients(cascade)
    for parameter in cascade.stages[1].parameters():
        parameter.grad.zero_()
    unchanged = [name for name, gradient in gradients(cascade).items() if torch.equal(gradient, before[name])]
    assert unchanged == [name for name in before if not name.startswith("stages.1.")]


def test_no_graph_is_built() -> None:
    saved: list[torch.Tensor] = []
    cascade = small_cascade(extractor=nn.Identity())
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        backward(cascade)
    assert saved == []
