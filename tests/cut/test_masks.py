"""Padding moves no belief: masks reach the heads of every stage, whatever is cut, and however."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.heads.samples import randomise
from torchsid import SID, StagedCascade, heads, staged_cascade
from torchsid.anytime import EarlyExit
from torchsid.core.calling import Inputs
from torchsid.errors import CutError

CLASSES, SHORT, LONG = 3, 7, 12


class Encoder(nn.Module):
    """A transformer of one's own, whose embeddings end in time last; `token` puts a class token in front, `tagger` answers each."""

    def __init__(self, token: bool = False, tagger: bool = False) -> None:
        super().__init__()
        self.token, self.tagger = token, tagger
        self.embed, self.mix = nn.Embedding(30, 8), nn.Conv1d(8, 8, 1)
        self.first = nn.Parameter(torch.randn(1, 1, 8))
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.out = nn.Linear(8, CLASSES)

    def forward(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.mix(self.embed(tokens).mT).mT
        if self.token:
            x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
            attention_mask = nn.functional.pad(attention_mask, (1, 0), value=1)
        for layer in self.layers:
            x = layer(x, attention_mask)
        return self.out(x if self.tagger else x[:, 0])


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = (q @ k.mT).masked_fill(attention_mask.unsqueeze(1) == 0, -1e4)
        return x + self.out(scores.softmax(-1) @ v).relu()


def padded(length: int, left: bool = False) -> dict[str, Tensor]:
    """Return two sentences, of 7 and 4 tokens, padded by tokens 0."""
    ids, mask = torch.zeros(2, length, dtype=torch.long), torch.zeros(2, length, dtype=torch.long)
    words = torch.randint(1, 30, (2, SHORT), generator=torch.Generator().manual_seed(3))
    for row, count in enumerate((7, 4)):
        place = slice(length - count, length) if left else slice(count)
        ids[row, place], mask[row, place] = words[row, :count], 1
    return {"input_ids": ids, "attention_mask": mask}


def positional(length: int) -> tuple[Tensor, Tensor]:
    return tuple(padded(length).values())  # type: ignore[return-value]


def cut(model: nn.Module, x: Inputs, cuts: int | list[str] = 3, **settings: Any) -> StagedCascade:
    torch.manual_seed(0)
    cascade = staged_cascade(model, CLASSES, cuts, x, max_head_share=999.0, **settings).eval()
    for head in cascade.heads[:-1]:
        randomise(head)
    return cascade


def assert_padding_moves_nothing(cascade: StagedCascade, short: Inputs, long: Inputs) -> None:
    with torch.no_grad():
        one, other = cascade.log_beliefs(short), cascade.log_beliefs(long)
    assert one[1:].std(1).amax(-1).gt(1e-3).all()  # the beliefs are about the samples
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("by", ["boundary", "graph"])
@pytest.mark.parametrize("head", ["linear", "mlp", "attention", "thin"])
@pytest.mark.parametrize("token", [False, True])
def test_heads_do_not_read_padding(head: str, by: str, token: bool) -> None:
    cascade = cut(Encoder(token), positional(SHORT), ["mix", "layers.0"], head=head, by=by)
    if token:
        cascade = cut(Encoder(token), positional(SHORT), ["layers.0"], head=head, by=by)
    assert_padding_moves_nothing(cascade, positional(SHORT), positional(LONG))
    SID(cascade.train()).backward(positional(LONG), torch.tensor([0, 2]))
    assert all(each.grad is not None and each.grad.isfinite().all() for each in cascade.heads.parameters())


def test_a_mask_may_be_any_function_of_the_inputs_and_early_exit_takes_it_along() -> None:
    class Quiet(Encoder):
        def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
            return super().forward(tokens, real)

    for by in ("boundary", "graph"):
        cascade = cut(Quiet(), positional(SHORT), ["mix", "layers.0"], by=by, mask=lambda x: x[1])
        assert_padding_moves_nothing(cascade, positional(SHORT), positional(LONG))
        sure = cascade.log_beliefs(positional(LONG))[1].exp().amax(-1)  # one leaves behind the first stage
        early = EarlyExit(cascade, f"confidence>{sure.mean().item()}")(positional(LONG))
        assert early.depth.min() == 1
        assert early.depth.max() > 1
        expected = cascade.log_beliefs(positional(SHORT))[early.depth, range(2)]
        torch.testing.assert_close(early.log_belief, expected, atol=1e-4, rtol=0)
    wrong = cut(Quiet(), positional(SHORT), ["mix"])
    wrong.mask = lambda x: x[1].sum()
    with pytest.raises(ValueError, match=r"mask gives shape \[\]: return \[B, T\]"):
        wrong.log_beliefs(positional(SHORT))


def test_what_is_answered_at_each_token_does_not_depend_on_padding() -> None:
    cascade = cut(Encoder(tagger=True), positional(SHORT), ["mix", "layers.0"])
    assert cascade.positions == "tokens"
    with torch.no_grad():
        one, other = cascade.log_beliefs(positional(SHORT)), cascade.log_beliefs(positional(LONG))
    real = positional(SHORT)[1].bool()
    torch.testing.assert_close(one[:, real], other[:, :, :SHORT][:, real], atol=1e-4, rtol=0)


class Own(nn.Module):
    """A head of one's own, that asks for the mask and keeps it."""

    def __init__(self, features: Tensor, num_classes: int) -> None:
        super().__init__()
        self.linear, self.seen = nn.Linear(features.shape[-1], num_classes), []

    def forward(self, features: Tensor, log_belief: Tensor, mask: Tensor | None) -> Tensor:
        self.seen.append(mask)
        return self.linear(features[:, 0])


class Deaf(Own):
    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        return self.linear(features.mean(1))


def test_a_head_of_ones_own_may_ask_for_the_mask_and_one_that_does_not_is_named_once() -> None:
    cascade = staged_cascade(Encoder(), CLASSES, ["layers.0"], positional(SHORT), head=Own)
    cascade.log_beliefs(positional(LONG))
    assert cascade.heads[0].seen[-1].equal(positional(LONG)[1].bool())
    with pytest.warns(UserWarning, match="heads of stages 1 read padding: theirs has no parameter mask") as said:
        deaf = staged_cascade(Encoder(), CLASSES, ["layers.0"], positional(SHORT), head=Deaf)
    deaf.log_beliefs(positional(LONG))
    assert len(said) == 1


@pytest.mark.parametrize(("name", "form"), [("padding_mask", (2, 7)), ("attention_mask", (2, 1, 1, 7)), ("real", (2, 7))])
def test_an_input_that_looks_like_a_mask_and_is_none_is_said(name: str, form: tuple[int, ...]) -> None:
    class Named(Encoder):
        def forward(self, tokens: Tensor, **masks: Tensor) -> Tensor:
            return super().forward(tokens, masks[name].view(2, -1))

    tokens, mask = positional(SHORT)
    x = {"tokens": tokens, name: mask.bool().view(form)}
    with pytest.warns(UserWarning, match=rf"stages 1, 2 read every token: if the input {name} \[2, .* mask=lambda x: None"):
        cut(Named(), x, ["mix", "layers.0"])
    cut(Named(), x, ["mix", "layers.0"], mask=lambda x: None)
    with pytest.raises(CutError, match=r"the mask goes from -1 to 0, as one that is added to scores: .* == 0"):
        cut(Named(), x, ["mix"], mask=lambda x: x[name].view(2, -1).float() - 1)


def test_a_mask_that_fits_nothing_is_said_once() -> None:
    class Halved(Encoder):
        def forward(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
            return super().forward(tokens[:, ::2], attention_mask[:, ::2])

    with pytest.warns(UserWarning, match=r"the mask \['B', 7\] fits not the 4 tokens that the head of stage 1") as said:
        cascade = cut(Halved(), positional(SHORT), ["mix", "layers.0"])
    cascade.log_beliefs(positional(LONG))
    assert len(said) == 1
    fits = cut(Halved(), positional(SHORT), ["mix", "layers.0"], mask=lambda x: x[1][:, ::2])
    assert_padding_moves_nothing(fits, positional(SHORT), positional(LONG))


def test_whatever_stands_at_padding_counts_nothing_and_a_sentence_without_tokens_is_a_belief() -> None:
    x, mask = torch.randn(3, 5, 8), torch.tensor([[1, 1, 0, 0, 0], [1] * 5, [0] * 5]).bool()
    spoiled = x.masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_()
    for kind in ("linear", "mlp", "attention", "thin"):
        head = randomise(heads.create(kind, x, CLASSES))
        made = head(spoiled, torch.zeros(3, CLASSES), mask=mask)
        torch.testing.assert_close(made[0], head(x[:1, :2], torch.zeros(1, CLASSES))[0])
        (gradient,) = torch.autograd.grad(made[:2].sum(), spoiled)
        assert made[:2].isfinite().all()
        assert gradient.isfinite().all()


# Of the transformers library

transformers = pytest.importorskip("transformers", reason="pip install transformers")
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "num_labels": CLASSES}


@dataclass(frozen=True)
class Case:
    model: str
    settings: Callable[[], dict[str, Any]]
    left: bool = False


CASES = {
    "RoBERTa": Case("Roberta", lambda: {**SIZES, "max_position_embeddings": 32, "pad_token_id": 0}),
    "DistilBERT": Case(
        "DistilBert", lambda: {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "num_labels": CLASSES, "pad_token_id": 0}
    ),
    "ELECTRA": Case("Electra", lambda: {**SIZES, "embedding_size": 8}),
    "DeBERTa": Case("DebertaV2", lambda: SIZES),
    "Longformer": Case("Longformer", lambda: {**SIZES, "attention_window": 4, "max_position_embeddings": 64, "pad_token_id": 0}),
    "XLNet": Case("XLNet", lambda: {"d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32, "num_labels": CLASSES}, left=True),
    "GPT-2": Case("GPT2", lambda: {"n_embd": 16, "n_layer": 3, "n_head": 2, "num_labels": CLASSES, "pad_token_id": 0}),
    "OPT": Case(
        "OPT",
        lambda: {**SIZES, "ffn_dim": 32, "word_embed_proj_dim": 16, "max_position_embeddings": 32, "pad_token_id": 0},
        left=True,
    ),
    "Llama": Case("Llama", lambda: {**SIZES, "num_key_value_heads": 2, "pad_token_id": 0}, left=True),
    "Qwen2": Case("Qwen2", lambda: {**SIZES, "num_key_value_heads": 1, "pad_token_id": 0}, left=True),
    "Mistral": Case("Mistral", lambda: {**SIZES, "num_key_value_heads": 2, "pad_token_id": 0, "head_dim": 8}),
}


@pytest.mark.parametrize("name", CASES)
def test_padding_moves_no_belief_of_a_text_model(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{case.model}Config")(vocab_size=30, use_cache=False, **case.settings())
    model = getattr(transformers, f"{case.model}ForSequenceClassification")(config).eval()
    cascade = cut(model, padded(SHORT, case.left))
    assert_padding_moves_nothing(cascade, padded(SHORT, case.left), padded(LONG, case.left))
