"""SID learns from real data in an ordinary training loop, with every direction and every kind of stage."""

import pytest
import torch
from torch import nn

from torchsid import SID, shared_cascade
from torchsid.tasks.images import Images


@pytest.mark.parametrize(("stage", "direction", "label_smoothing"), [("plain", "forward", 0.0), ("residual", "reverse", 0.1)])
def test_every_stage_learns_to_read_digits(stage: str, direction: str, label_smoothing: float) -> None:
    splits = Images().load(0)
    x, held_out = (part.inputs.flatten(1) / 255 for part in (splits.train, splits.test))
    cascade = shared_cascade(nn.Sequential(nn.Linear(64, 64), nn.ReLU()), 10, 4, hidden=32, stage=stage, feature_dim=64)
    learner = SID(cascade, direction=direction, label_smoothing=label_smoothing)
    optimizer = torch.optim.Adam(cascade.parameters(), lr=3e-3)
    for batch in torch.cat([torch.randperm(len(x)) for _ in range(8)]).split(64):
        optimizer.zero_grad()
        learner.backward(x[batch], splits.train.target[batch])
        optimizer.step()
    accuracy = (cascade.log_beliefs(held_out)[1:].argmax(-1) == splits.test.target).float().mean(-1)  # [L]
    assert accuracy[-1] >= 0.9
    assert (accuracy >= 0.85).all()
