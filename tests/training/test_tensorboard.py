import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from torchsid.errors import ConfigError
from torchsid.training import RunConfig, train


def test_a_missing_package_is_an_error_before_anything_is_written(
    small: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"torchsid\[tensorboard\]"):
        train(small("training.tensorboard=true"), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own imports
def test_every_epoch_is_written(small: Callable[..., RunConfig], tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train(small("training.tensorboard=true"), tmp_path / "run")
    events = accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train_loss")] == [4, 8]
    assert {"validation_accuracy/stage 0", "validation_accuracy/stage 2", "train_accuracy/stage 1"} <= set(events.Tags()["scalars"])
