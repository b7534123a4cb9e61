"""Count the operations of a forward pass: matrix products, convolutions, attention and recurrences, also in fused kernels."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

_Shape = Sequence[int]


def _recurrence(x: _Shape, *weights: Any, **_: Any) -> int:
    """Of one layer, `[T, B, D]` and its two weights, or of all with a list of them: each weight is applied at every step."""
    matrices = weights[0] if isinstance(weights[0][0], Sequence) else weights[:2]
    applied: int = sum(prod(shape) for shape in matrices if len(shape) > 1)
    return 2 * prod(x[:-1]) * applied


_KERNELS = {  # that PyTorch's counter does not know: from the shapes of their arguments to operations, two a multiply-add
    "_scaled_dot_product_flash_attention_for_cpu": lambda *shapes, **_: sdpa_flop_count(*shapes[:3]),  # type: ignore[no-untyped-call]
    "mkldnn_rnn_layer": _recurrence,
    "_cudnn_rnn": _recurrence,
    "miopen_rnn": _recurrence,
    "_embedding_bag": lambda table, indices, *_, **__: 2 * prod(indices) * table[1],
    "_embedding_bag_forward_only": lambda table, indices, *_, **__: 2 * prod(indices) * table[1],
    "_trilinear": lambda left, weight, *_, **__: 2 * left[0] * prod(weight),
    "addmv": lambda _, matrix, *__, **___: 2 * prod(matrix),
    "mv": lambda matrix, *_, **__: 2 * prod(matrix),
    "dot": lambda vector, *_, **__: 2 * prod(vector),
}


def counting() -> FlopCounterMode:
    """Return a context whose `get_total_flops()` says how many operations ran within it, two a multiply-add."""
    return FlopCounterMode(display=False, custom_mapping={getattr(torch.ops.aten, name): of for name, of in _KERNELS.items()})
