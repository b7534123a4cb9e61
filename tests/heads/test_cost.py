import pytest
import torch
from torch import nn

from tests.heads.samples import create, features, log_belief
from tests.networks import assert_untouched, snapshot
from torchsid.heads.cost import multiply_adds, parameters


@pytest.mark.parametrize(
    ("kind", "form", "expected"),
    [
        ("linear", "vectors", (8 + 4) * 4),
        ("linear", "maps", (8 + 4) * 4),
        ("mlp", "tokens", 8 * 256 + (256 + 4) * 4),
        ("conv", "maps", 36 * 9 * 8 * 8 + (8 + 4) * 4),  # on 6x6 pixels
        ("pyramid", "maps", 36 * 9 * 8 * 8 + 9 * 9 * 8 * 16 + (16 + 4) * 4),  # 12 pixels a side, 6, 3
        ("attention", "tokens", 2 * 5 * 8 + (8 + 4) * 4),  # scores, then their mean
        ("attention", "maps", 2 * 144 * 8 + (8 + 4) * 4),
        ("trunk", "vectors", 8 * 9 + 9 * 7 + (7 + 4) * 4),
        ("trunk", "maps", 36 * 9 * 8 * 10 + 9 * 9 * 10 * 14 + (14 + 4) * 4),
    ],
)
def test_heads_cost_what_a_hand_computes(kind: str, form: str, expected: int) -> None:
    assert multiply_adds(create(kind, form), features(form), log_belief()) == expected


def test_attention_layers_are_counted_whole() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)  # 5 tokens: projections, scores, their mean, linear layers
    assert multiply_adds(layer, torch.zeros(3, 5, 8)) == 5 * 4 * 8 * 8 + 2 * 5 * 5 * 8 + 5 * 2 * 8 * 16


def test_depthwise_convolutions_are_counted_by_group() -> None:
    assert multiply_adds(nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), torch.zeros(2, 6, 4, 4)) == 16 * 9 * 6


def test_counting_leaves_no_trace() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout().eval())
    before, fused = snapshot(module), torch.backends.mha.get_fastpath_enabled()
    multiply_adds(module, torch.randn(1, 4, generator=torch.Generator()))
    assert_untouched(module, before)
    assert torch.backends.mha.get_fastpath_enabled() == fused


def test_a_shared_parameter_is_counted_once() -> None:
    layer = nn.Linear(4, 4)
    assert parameters(nn.Sequential(layer, nn.ReLU(), layer)) == 20
