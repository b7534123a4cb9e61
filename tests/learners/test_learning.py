"""SID learns from real data, with every direction and every kind of stage."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from torchsid import SID, shared_cascade


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """scikit-learn's 8x8 digits, shuffled: 1,347 to train on and 450 held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(data.data, dtype=torch.float32)[order] / 16, torch.tensor(data.target)[order]
    return x[:1347], y[:1347], x[1347:], y[1347:]


@pytest.mark.parametrize("stage", ["plain", "residual"])
@pytest.mark.parametrize(("direction", "label_smoothing"), [("forward", 0.0), ("reverse", 0.1)])
def test_it_learns_to_read_digits(digits: tuple[Tensor, ...], direction: str, label_smoothing: float, stage: str) -> None:
    """An ordinary training loop, with one line of it replaced."""
    x, y, held_out, answers = digits
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
    cascade = shared_cascade(nn.Sequential(nn.Linear(64, 64), nn.ReLU()), 10, 4, hidden=32, stage=stage, feature_dim=64)
    learner = SID(cascade, direction=direction, label_smoothing=label_smoothing)
    optimizer = torch.optim.Adam(cascade.parameters())
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=12 * len(loader))
    for _ in range(12):
        for images, labels in loader:
            optimizer.zero_grad()
            learner.backward(images, labels)
            nn.utils.clip_grad_norm_(cascade.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
    right = cascade.log_beliefs(held_out)[1:].argmax(-1) == answers  # [L, N]
    assert right[-1].float().mean() >= 0.9
    assert (right.float().mean(-1) >= 0.85).all()  # every stage has learnt
