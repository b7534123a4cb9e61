"""The head that reads by a copy of the last stage's readout."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.heads.samples import later
from torchsid import heads
from torchsid.core.readout import ReadoutCopy
from torchsid.errors import HeadError
from torchsid.heads import BeliefHead
from torchsid.heads.readout import ReadoutBody

B, T, D, V = 2, 6, 8, 12


def tokens() -> Tensor:
    return torch.randn(B, T, D, generator=torch.Generator().manual_seed(0))


def log_belief(classes: int = V) -> Tensor:
    return torch.randn(B, T, classes, generator=torch.Generator().manual_seed(1)).log_softmax(-1)


def create(kind: str = "readout", classes: int = V, **settings: Any) -> BeliefHead:
    torch.manual_seed(0)
    copy = ReadoutCopy(nn.Linear(D, classes, bias=False))
    head = heads.create(kind, tokens(), classes, residual=False, readout=copy, positions="tokens", settings=settings)
    with torch.no_grad():
        for parameter in head.parameters():
            if not parameter.any():  # what the blocks add is nothing at first
                parameter.normal_()
    return head


def test_it_begins_as_the_norm_and_the_copy_which_it_does_not_own() -> None:
    copy = ReadoutCopy(nn.Linear(D, V))
    head = heads.create("readout", tokens(), V, residual=False, readout=copy, positions="tokens", settings={"refresh": 3})
    expected = F.layer_norm(tokens(), (D,)) @ copy.weight.T + copy.bias
    torch.testing.assert_close(head(tokens(), log_belief()), expected)
    torch.testing.assert_close(head.readout(head.hidden(tokens())), expected)
    assert head.readout is copy
    assert copy.refresh == 3
    assert not [name for name in head.state_dict() if "readout" in name or "output" in name]


def test_without_blocks_a_token_looks_at_itself_alone() -> None:
    head, x = create(blocks=0), tokens()
    changed = x.clone()
    changed[:, 3] = torch.arange(D)
    same = torch.isclose(head(x, log_belief()), head(changed, log_belief())).all(-1).all(0)
    assert same.tolist() == [True, True, True, False, True, True]


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("causal", [True, False])
def test_a_token_looks_at_earlier_ones_alone_unless_told_otherwise(causal: bool, blocks: int) -> None:
    head, x = create(causal=causal, blocks=blocks), tokens()
    changed = x.clone()
    changed[:, 3] = torch.arange(D)
    before, after = head(x, log_belief()), head(changed, log_belief())
    assert torch.equal(before[:, :3], after[:, :3]) == causal
    assert not torch.isclose(before[:, 3:], after[:, 3:]).all(-1).any()  # the token itself and later ones


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_not_looked_at(side: str, causal: bool) -> None:
    head, x = create(causal=causal), tokens()
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[0, slice(2) if side == "left" else slice(4, T)] = False
    garbage = torch.where(mask.unsqueeze(-1), x, 100.0)
    found = head(garbage, log_belief(), mask=mask)
    assert found.isfinite().all()
    torch.testing.assert_close(found[0][mask[0]], head(x[:1, mask[0]], log_belief()[:1, mask[0]])[0])


@pytest.mark.parametrize(("kind", "settings"), [("readout", {"shared": False}), ("linear", {}), ("mlp", {})])
def test_of_many_outcomes_at_each_token_the_belief_is_not_read(kind: str, settings: dict[str, Any]) -> None:
    for classes, reads in ((D, True), (300, False)):
        head = create(kind, classes, **settings)
        wide = kind == "mlp"  # its vector has 256 channels
        assert head.reads_belief == (reads or (wide and classes <= 256))
        width = head.readout.weight.shape[1] - classes * head.reads_belief
        assert width == (256 if wide else D)
        assert head(tokens(), log_belief(classes)).shape == (B, T, classes)
        assert not isinstance(head.readout, ReadoutCopy)


def test_the_number_of_attention_heads_is_the_trunks() -> None:
    assert ReadoutBody(torch.zeros(1, 2, 8), later("tokens"), shared=False).blocks[0].attn.heads == 2  # type: ignore[union-attr]
    assert ReadoutBody(torch.zeros(1, 2, 96), shared=False).blocks[0].attn.heads == 1  # type: ignore[union-attr]
    assert ReadoutBody(torch.zeros(1, 2, 192), later("tokens")[:1], shared=False).blocks[0].attn.heads == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "none does: set shared=False"),
        ({"readout": ReadoutCopy(nn.Linear(D + 1, V))}, "the last readout reads 9 channels"),
        ({"positions": ()}, "answers at each token"),
        ({"settings": {"blocks": 3}}, "allowed is int, at least 0, at most 2"),
    ],
)
def test_what_it_cannot_do_is_told(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        heads.create("readout", tokens(), V, **{"positions": "tokens", **given})


def test_what_makes_the_logits_is_not_counted() -> None:
    free = 4 * T * D * D + 2 * T * T * D + 8 * T * D * D
    settings: dict[str, Any] = {"positions": "tokens", "readout": ReadoutCopy(nn.Linear(D, V)), "residual": False}
    heads.create("readout", tokens(), V, budget=free, **settings)
    with pytest.raises(HeadError, match=f"takes {free:,} multiply-adds"):
        heads.create("readout", tokens(), V, budget=free - 1, **settings)
    heads.create("linear", tokens(), V, budget=1, **settings)
