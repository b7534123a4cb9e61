"""Random beliefs for property tests."""

import torch
from hypothesis import strategies as st
from torch import Tensor

alphas = st.floats(0.01, 0.99)
inner_alphas = st.floats(0.05, 0.95)
temperatures = st.floats(0.25, 4)
directions = st.sampled_from(["forward", "reverse"])


@st.composite
def beliefs(draw: st.DrawFn, count: int, *, largest_logit: float = 12.0) -> tuple[Tensor, ...]:
    """`count` full-support log-beliefs over the same classes, each `[C]`, float64; some of them sharp, some of them equal."""
    num_classes = draw(st.integers(2, 6))
    logit = st.floats(-largest_logit, largest_logit)
    row = st.lists(logit, min_size=num_classes, max_size=num_classes)
    return tuple(torch.tensor(draw(row), dtype=torch.float64).log_softmax(-1) for _ in range(count))
