import torch
from torch import nn
from torch.optim import SGD

from torchsid.bench.workers.recorder import Recorder


def test_a_training_step_is_forward_backward_update() -> None:
    model, recorder = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), Recorder()
    optimizer = SGD(model.parameters(), lr=0.1)
    recorder.follow(model[0], model[1])
    recorder.follow_updates(optimizer)
    for _ in range(2):
        model(torch.randn(5, 3)).sum().backward()
        optimizer.step()
    intervals = recorder.take()
    assert [each.what for each in intervals] == 2 * ["forward", "backward", "update"]
    times = [time for each in intervals for time in (each.start, each.end)]
    assert times == sorted(times)
    assert recorder.take() == ()


def test_what_begins_ends_what_was_under_way() -> None:
    recorder = Recorder()
    recorder.begin("forward")
    with recorder.during("backward"):
        pass
    recorder.end()
    first, second = recorder.take()
    assert (first.what, second.what) == ("forward", "backward")
    assert first.end <= second.start
