from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from torchsid.core.operations import counting

T, B, D, H = 6, 2, 8, 16
X = torch.randn(T, B, D)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("batch_first", [False, True])
def test_recurrences_apply_their_weights_at_every_step(kind: str, batch_first: bool) -> None:
    layer = getattr(nn, kind)(D, H, num_layers=2, bidirectional=True, batch_first=batch_first)
    with counting() as counter:
        layer(X)
    assert counter.get_total_flops() == 2 * T * B * 2 * GATES[kind] * H * ((D + H) + (2 * H + H))


def test_a_packed_sequence_has_fewer_steps() -> None:
    with counting() as counter:
        nn.LSTM(D, H)(pack_padded_sequence(X, [6, 3]))
    assert counter.get_total_flops() == 2 * 9 * 4 * H * (D + H)


def test_what_cudnn_is_given_is_counted_alike() -> None:
    layer = nn.LSTM(D, H, num_layers=2)
    shapes = [list(weight.shape) for weight in layer.parameters()]
    with counting() as counter:
        assert counter.flop_registry[torch.ops.aten._cudnn_rnn]([T, B, D], shapes, 4, out_val=None) == sum(
            2 * T * B * weight.numel() for weight in layer.parameters() if weight.dim() > 1
        )


@pytest.mark.parametrize(
    ("run", "multiply_adds"),
    [
        (lambda: nn.EmbeddingBag(10, D)(torch.randint(10, (3, 4))), 12 * D),
        (lambda: nn.Bilinear(D, D, 5)(X[0], X[0]), B * 5 * D * D),
        (lambda: X[0] @ torch.randn(D), B * D),
        (lambda: torch.einsum("tbd,tbe->tde", X, X), T * B * D * D),
        (lambda: nn.MultiheadAttention(D, 2)(X, X, X, need_weights=False), T * B * 4 * D * D + 2 * T * T * B * D),
    ],
    ids=["embedding bag", "bilinear", "matrix times vector", "einsum", "attention"],
)
def test_other_kernels_count(run: Callable[[], Tensor], multiply_adds: int) -> None:
    with counting() as counter:
        run()
    assert counter.get_total_flops() == 2 * multiply_adds
