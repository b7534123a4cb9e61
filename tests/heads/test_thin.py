"""The thin head follows the trunk's shapes at a fraction of their width, on any trunk."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torchsid import heads, staged_cascade
from torchsid.core.peak_memory import kept_bytes
from torchsid.errors import HeadError
from torchsid.heads.thin import ResidualBlock, ThinBody

MAPS = torch.zeros(1, 64, 32, 32)
POINTWISE = {"width": 0.25, "entry": "pointwise"}


def conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


TRUNK = (conv(64, 64), conv(64, 128, 2), conv(128, 128), nn.MaxPool2d(2), conv(128, 512, 2))


def shapes(body: nn.Module, x: Tensor) -> list[tuple[int, int]]:
    """Return channels and side behind the entry and behind every block."""
    found = []
    for layer in body.eval().layers:
        x = layer(x)
        if isinstance(layer, nn.ReLU | ResidualBlock):
            found.append((x.shape[1], x.shape[2]))
    return found


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (POINTWISE, [(16, 32), (32, 16), (32, 8), (128, 4)]),
        (POINTWISE | {"width": 0.5}, [(32, 32), (64, 16), (64, 8), (256, 4)]),
        (POINTWISE | {"width": 1e-9}, [(16, 32), (16, 16), (16, 8), (16, 4)]),
        (POINTWISE | {"width": 1.0}, [(64, 32), (128, 16), (128, 8), (512, 4)]),
        ({}, [(24, 16), (40, 8), (40, 4), (168, 4)]),  # a strided entry is one ahead of the trunk, and no smaller in the end
    ],
)
def test_every_later_change_of_shape_is_a_narrow_block(settings: dict[str, Any], expected: list[tuple[int, int]]) -> None:
    assert shapes(ThinBody(MAPS, TRUNK, **settings), MAPS) == expected


def test_odd_sides_are_followed_as_the_trunk_rounds_them() -> None:
    x, later = torch.zeros(1, 64, 14, 14), (conv(64, 128, 2), conv(128, 256, 2), conv(256, 512, 2))
    assert shapes(ThinBody(x, later, **POINTWISE), x) == [(16, 14), (32, 7), (64, 4), (128, 2)]
    assert [side for _, side in shapes(ThinBody(x, later), x)] == [7, 4, 2, 2]


class Foreign(nn.Module):
    """A module of the user's that no meta tensor can pass."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum().item() > 0 else -x


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ((), [(16, 32), (16, 32)]),  # one block, where nothing is known of what follows
        ((conv(64, 64),), [(16, 32), (16, 32)]),
        ((conv(64, 128, 2), Foreign(), conv(128, 512, 2)), [(16, 32), (32, 16)]),
        ((conv(64, 128, 2), nn.Flatten(2), nn.Identity()), [(16, 32), (32, 16)]),
        ((conv(3, 4),), [(16, 32), (16, 32)]),
    ],
)
def test_what_cannot_be_followed_ends_what_is_known(later: tuple[nn.Module, ...], expected: list[tuple[int, int]]) -> None:
    assert shapes(ThinBody(MAPS, later, **POINTWISE), MAPS) == expected


def test_the_trunk_is_left_as_it_was() -> None:
    later = nn.Sequential(*TRUNK)
    before = copy.deepcopy(later.state_dict())
    ThinBody(MAPS, later)
    assert later.training
    torch.testing.assert_close(later.state_dict(), before, rtol=0, atol=0)


def test_tokens_meet_a_transformer_block_of_a_fraction_of_their_width() -> None:
    block = ThinBody(torch.zeros(1, 5, 192), width=1 / 3).layers[1]
    assert isinstance(block, nn.TransformerEncoderLayer)
    assert block.linear1.in_features == 64


def test_the_strided_entry_keeps_less_than_the_pointwise_one() -> None:
    x, kept = torch.randn(4, 64, 32, 32), {}
    for entry in ("pointwise", "strided"):
        head = heads.create("thin", x, 10, later=TRUNK, settings={"entry": entry})
        kept[entry] = kept_bytes(head, lambda head=head: head(x, torch.zeros(4, 10)).sum().backward())
    assert kept["strided"] < 0.7 * kept["pointwise"]


def test_settings_that_do_not_exist_or_are_out_of_range_are_told() -> None:
    with pytest.raises(HeadError, match=r"unknown setting of head 'thin' 'widht'.*did you mean 'width'"):
        heads.create("thin", MAPS, 10, settings={"widht": 0.5})
    with pytest.raises(ValueError, match=r"width=1\.5: .*at most 1"):
        heads.create("thin", MAPS, 10, settings={"width": 1.5})


@pytest.mark.parametrize("head", ["auto", lambda features, num_classes: nn.Identity()])
def test_settings_of_a_head_that_is_not_named_are_refused(head: Any) -> None:
    with pytest.raises(HeadError, match="belong to a head that is named"):
        staged_cascade(nn.Sequential(conv(3, 32), conv(32, 64)), 64, 2, MAPS[:, :3], head=head, head_settings={"width": 0.5})


def test_they_reach_every_stage_of_a_cascade() -> None:
    model = nn.Sequential(conv(3, 32), conv(32, 64, 2), conv(64, 128, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))
    x = torch.randn(2, 3, 16, 16)
    cascade = staged_cascade(model, 10, 3, x, head="thin", head_settings={"width": 0.5}, max_head_share=9.0)
    assert [head.body.layers[0].out_channels for head in cascade.heads[:-1]] == [16, 32]
