"""Logits that wait give what logits give that are there."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.strategies import alphas, temperatures
from torchsid import SID, LocalObjective, StagedCascade, staged_cascade
from torchsid.core import lazy_logits
from torchsid.core.beliefs import to_log_belief
from torchsid.core.lazy_logits import LazyLogits, learn
from torchsid.errors import TargetError
from torchsid.models.classifiers.gpt import GPT
from torchsid.tasks.domain import Samples
from torchsid.training.evaluation import believed, descent_of, evaluate


@contextmanager
def chunks_of(numbers: int) -> Iterator[None]:
    """Have chunks of so many numbers, so that all logits that can wait do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy_logits, "CHUNK", numbers)
        yield


def example(seed: int, *where: int, size: int = 11, bias: bool = True, **made: Any) -> LazyLogits:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(*where, 5), (size, 5), *([(size,)] if bias else [])]
    return LazyLogits(*(torch.randn(shape, generator=generator, dtype=torch.float64, **made) for shape in shapes))


def plain(
    logits: LazyLogits, target: Tensor, teacher: LazyLogits, objective: LocalObjective, alpha: float | Tensor, factors: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return losses and gradients with all logits there, by autograd."""
    z = torch.nn.functional.linear(logits.hidden, logits.weight, logits.bias)
    log_target = objective.log_target(target, z.shape[-1], dtype=torch.float64)
    losses = objective(to_log_belief(z), log_target, teacher.log_belief(), alpha)
    return losses.detach(), list(torch.autograd.grad((losses * factors).sum(), logits.parts))


@given(
    alpha=alphas,
    temperature=temperatures,
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    bias=st.booleans(),
    rows=st.integers(1, 7),
    held=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_value_and_gradients_are_those_of_the_plain_form(
    alpha: float, temperature: float, smoothing: float, bias: bool, rows: int, held: bool, seed: int
) -> None:
    logits, teacher = example(seed, 2, 3, bias=bias, requires_grad=True), example(seed + 1, 2, 3)
    generator = torch.Generator().manual_seed(seed)
    target, factors = torch.randint(11, (2, 3), generator=generator), torch.randn(2, 3, generator=generator, dtype=torch.float64)
    objective = LocalObjective(temperature=temperature, label_smoothing=smoothing)
    weight = torch.tensor(alpha, dtype=torch.float64) if held else alpha
    with chunks_of(11 * rows):
        found = learn(logits, target, teacher, objective, weight, factors)
    losses, gradients = plain(logits, target, teacher, objective, alpha, factors)
    torch.testing.assert_close(found.losses, losses, rtol=1e-12, atol=1e-12)
    roots, found_gradients = zip(*found.gradients, strict=True)
    assert [id(root) for root in roots] == [id(part) for part in logits.parts]
    torch.testing.assert_close(list(found_gradients), gradients, rtol=1e-12, atol=1e-12)
    assert torch.equal(found.answers, logits.log_belief().argmax(-1))


def test_what_needs_no_gradient_gets_none() -> None:
    frozen, h = example(0, 4), torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert len(learn(LazyLogits(h, frozen.weight), torch.arange(4), None, LocalObjective(), 1.0, torch.ones(())).gradients) == 1
    assert not learn(frozen, torch.arange(4), None, LocalObjective(), 1.0, torch.ones(())).gradients


def test_a_prior_is_a_bias_alone() -> None:
    log_prior = torch.randn(7).log_softmax(-1)
    prior = LazyLogits.constant(log_prior, torch.Size([2, 3]))
    torch.testing.assert_close(prior.log_belief(), log_prior.expand(2, 3, 7))
    assert [len(chunk.hidden) for chunk in prior.chunks()] == [6]


def test_half_precision_computes_as_a_linear_layer_does() -> None:
    """Under autocast z and g are bfloat16, beliefs and the sum over the chunks are not."""
    layer, h = torch.nn.Linear(8, 50), torch.randn(6, 8, requires_grad=True)
    target, ones = torch.randint(50, (6,)), torch.ones(())
    with torch.autocast("cpu", torch.bfloat16):
        z = layer(h)
        found = learn(LazyLogits(h, layer.weight, layer.bias), target, None, LocalObjective(), 1.0, ones)
    losses = torch.nn.functional.cross_entropy(z.float(), target, reduction="none")
    gradients = torch.autograd.grad(losses.sum(), [h, layer.weight, layer.bias])
    found_gradients = [gradient for _, gradient in found.gradients]
    assert all(gradient.dtype == torch.float32 for gradient in found_gradients)
    torch.testing.assert_close(found.losses, losses.detach())
    torch.testing.assert_close(found_gradients, list(gradients), rtol=0.02, atol=0.02)


# A step in which all logits wait

TEXT = torch.randint(20, (4, 9), generator=torch.Generator().manual_seed(0))
X, Y = TEXT[:, :-1], TEXT[:, 1:].clone()
Y[0, :3] = -100


def language_model(by: str = "boundary", **settings: Any) -> StagedCascade:
    torch.manual_seed(0)
    model = GPT(X, 20, width=8, blocks=3, heads=2)
    cascade = staged_cascade(model, 20, 3, X, by=by, **{"head": "readout", "max_head_share": 9.0, **settings}).double()
    for parameter in cascade.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return cascade


CASES = {
    "shared": {},
    "private": {"head_settings": {"shared": False}},
    "linear": {"head": "linear"},
    "residual": {"residual": True},
    "window": {"window": 2},
    "end to end": {"window": 3},
    "smoothed": {"label_smoothing": 0.1, "temperature": 2.0},
    "only the target": {"alpha": 1.0},
}


@pytest.mark.parametrize(("case", "by"), [*((case, "boundary") for case in CASES), ("shared", "graph")])
def test_a_step_gives_the_gradients_of_one_that_makes_all_logits(case: str, by: str) -> None:
    settings: dict[str, Any] = dict(CASES[case])
    made = {name: settings.pop(name) for name in ("head", "head_settings", "residual") if name in settings}
    lazy, plain = (SID(language_model(by, **made), **{"alpha": "linear:0.3:0.8", **settings}) for _ in range(2))
    told: dict[str, Any] = {"weight": torch.rand(4, 8), "scale": torch.tensor([1.0, 2.0, 0.5])}
    with chunks_of(100):
        assert lazy.logits_wait(Y)
        found = lazy.backward(X, Y, **told)
        expected = plain.backward(X, Y, **told, on_belief=lambda *belief: None)
    torch.testing.assert_close(found.stage_losses, expected.stage_losses, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.log_belief, expected.log_belief, rtol=1e-12, atol=1e-12)
    assert found.answers is not None
    assert torch.equal(found.answers, expected.answers)
    gradients = dict(plain.module.named_parameters())
    for name, parameter in lazy.module.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("shared", [True, False])
def test_weights_after_steps_at_once_are_those_of_steps_that_make_all_logits(shared: bool) -> None:
    """Also where a stage's own readout is updated before the next one learns from what it said."""
    cascades = [language_model(head_settings={"shared": shared}) for _ in range(2)]
    lazy, plain = (SID(each, alpha=0.5, optimizer=torch.optim.SGD(each.parameters(), lr=0.5)) for each in cascades)
    with chunks_of(100):
        for _ in range(3):
            out = lazy.step(X, Y)
            plain.step(X, Y, on_belief=lambda *belief: None)
    torch.testing.assert_close(cascades[0].state_dict(), cascades[1].state_dict(), rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="the weights have been updated since: give on_belief"):
        _ = out.log_belief
    assert torch.equal(cascades[0](X), cascades[0].model(X))  # which makes its logits as ever


class Largest(TorchDispatchMode):
    """Notes the largest storage that anything computes, in bytes."""

    found = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [each.untyped_storage().nbytes() for each in tree_leaves(out) if isinstance(each, Tensor)]
        self.found = max(self.found, *sizes, 0)
        return out


def test_nothing_of_the_size_of_all_logits_is_made() -> None:
    torch.manual_seed(0)
    model = GPT(X, 400, width=8, blocks=2, heads=2)
    cascade = staged_cascade(model, 400, ["blocks.0"], X, head="readout", max_head_share=9.0)
    learner, logits = SID(cascade, alpha=0.5), Y.numel() * 400 * 4
    for told, least, most in (({}, 0, logits // 2), ({"on_belief": lambda *belief: None}, logits, None)):
        with chunks_of(2000), Largest() as largest:
            learner.backward(X, Y, **told)  # type: ignore[arg-type]
        assert least <= largest.found <= (most or largest.found)


def test_logits_are_made_where_they_are_few_or_somebody_needs_them() -> None:
    learner, rows = SID(language_model()), torch.nn.functional.one_hot(Y.clamp(min=0), 20).double()
    assert not learner.logits_wait(Y)
    with chunks_of(100):
        assert learner.logits_wait(Y)
        assert not learner.logits_wait(rows)
        assert not learner.logits_wait(Y, on_belief=print)
        assert not SID(language_model(), direction="reverse", label_smoothing=0.1).logits_wait(Y)
        assert not SID(language_model(head="linear", residual=True)).logits_wait(Y)
        hooked = language_model()
        hooked.model.readout.register_forward_hook(print)  # type: ignore[operator, union-attr]
        assert not SID(hooked).logits_wait(Y)
        with pytest.raises(TargetError, match="classes from 0 to 20"):
            learner.backward(X, torch.full_like(Y, 20) * (X > 0))
        with pytest.raises(TargetError, match="the targets are for a batch of shape"):
            learner.backward(X, Y[:, :-1])
        out = learner.backward(X, Y)
    assert out.answers is not None


class Capped(GPT):
    """Changes what its linear layer returns, as some models do."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.tanh(super().forward(tokens))


def test_logits_that_no_linear_layer_returns_cannot_wait() -> None:
    cascade = staged_cascade(Capped(X, 20, width=8, blocks=3, heads=2), 20, 3, X, head="linear")
    assert cascade.own_readout == ""
    assert not cascade.can_wait


def test_beliefs_that_wait_are_judged_as_those_that_are_there() -> None:
    learner, samples = SID(language_model(), alpha=0.5), Samples(X, Y)
    objective = LocalObjective(label_smoothing=0.1)

    def judged() -> tuple[Any, ...]:
        parts = list(believed(learner, samples, prepare=lambda x: x))
        return evaluate(learner, samples, prepare=lambda x: x), descent_of(parts, objective, ""), type(parts[0][1])

    (expected, descent, kind), there = judged(), learner.log_beliefs(X)
    assert kind is Tensor
    with chunks_of(60):
        (found, lazy_descent, kind), waiting = judged(), learner.lazy_log_beliefs(X)
    assert kind is list
    torch.testing.assert_close(torch.stack([each.log_belief() for each in waiting]), there, rtol=1e-12, atol=1e-12)
    assert found["answers"] == expected["answers"]
    assert found["n"] == expected["n"] == 29
    for name in ("accuracy", "kl", "ece"):
        assert found[name] == pytest.approx(expected[name], abs=1e-6)
    assert lazy_descent.means == pytest.approx(descent.means, abs=1e-6)


@pytest.mark.parametrize("kind", ["Llama", "GPT2", "Gemma2"])
def test_causal_models_of_hugging_face(kind: str) -> None:
    """One that changes its logits before it returns them cannot wait."""
    transformers = pytest.importorskip("transformers")
    names = {"GPT2": ("n_embd", "n_layer", "n_head")}.get(kind, ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    about = dict(zip(names, (16, 2, 2), strict=True)) | {"vocab_size": 20, "tie_word_embeddings": False, "use_cache": False}
    about |= {"GPT2": {"bos_token_id": 0, "eos_token_id": 0}}.get(kind, {"intermediate_size": 32, "num_key_value_heads": 2})
    model = getattr(transformers, {"GPT2": "GPT2LMHeadModel"}.get(kind, f"{kind}ForCausalLM"))
    found = []
    for told in ({}, {"on_belief": lambda *belief: None}):
        torch.manual_seed(0)
        made = model(getattr(transformers, f"{kind}Config")(**about)).eval()
        cascade = staged_cascade(made, 20, 2, {"input_ids": X}, head="readout", max_head_share=99.0).double()
        learner = SID(cascade, alpha=[0.7, 0.6])
        with chunks_of(100), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*in evaluation mode")
            assert learner.logits_wait(Y) == (kind != "Gemma2")
            learner.backward({"input_ids": X}, Y, **told)  # type: ignore[arg-type]
        found.append([parameter.grad for parameter in cascade.parameters()])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)
