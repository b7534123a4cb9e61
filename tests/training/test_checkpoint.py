import errno
from pathlib import Path

import pytest
import torch
from torch import nn

from torchsid import Backprop
from torchsid.errors import CheckpointError, RunError
from torchsid.training import checkpoint, durable
from torchsid.training.config import OptimizerConfig
from torchsid.training.setup import build_optimizer


def trained(name: str = "adam", seed: int = 0) -> tuple[Backprop, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    momentum = {"momentum": 0.9} if name == "sgd-momentum" else {}
    config = OptimizerConfig(name=name.removesuffix("-momentum"), weight_decay_on="weights", weight_decay=0.1, **momentum)
    optimizer = build_optimizer(module, config)
    for _ in range(2):
        optimizer.zero_grad()
        module(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
    return Backprop(module), optimizer


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "sgd-momentum"])
def test_weights_optimiser_and_state_come_back(tmp_path: Path, name: str) -> None:
    (learner, optimizer), state = trained(name), {"step": 3, "loss": 0.1 + 0.2}
    checkpoint.save(tmp_path / "last", learner, optimizer, state, config_sha256="abc")
    other, other_optimizer = trained(name, seed=1)
    assert checkpoint.load(tmp_path / "last", other, other_optimizer, config_sha256="abc") == state
    for key, tensor in learner.module.state_dict().items():
        assert torch.equal(other.module.state_dict()[key], tensor)
    before, after = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    tensors = {(i, key): value for i, entry in before.items() for key, value in entry.items() if value is not None}
    assert name == "sgd" or tensors
    assert all(torch.equal(after[i][key], value) for (i, key), value in tensors.items())


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "change", "remove"])
def test_damage_is_named_and_changes_nothing(tmp_path: Path, name: str, damage: str) -> None:
    checkpoint.save(tmp_path / "last", *trained(), {"step": 3}, config_sha256="abc")
    path = tmp_path / "last" / name
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "change" if name == "state.json":
            path.write_bytes(content.replace(b'"step": 3', b'"step": 4'))
        case "change":
            path.write_bytes(content[:-9] + bytes(255 - byte for byte in content[-9:]))
        case "remove":
            path.unlink()
    other, other_optimizer = trained(seed=1)
    weights = {key: tensor.clone() for key, tensor in other.module.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"{name}.*start a new run"):
        checkpoint.load(tmp_path / "last", other, other_optimizer, config_sha256="abc")
    assert all(torch.equal(other.module.state_dict()[key], tensor) for key, tensor in weights.items())


def test_another_configuration_or_network_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last", *trained(), {}, config_sha256="abc")
    with pytest.raises(CheckpointError, match="another configuration"):
        checkpoint.load(tmp_path / "last", *trained(), config_sha256="abd")
    with pytest.raises(CheckpointError, match="does not fit the network"):
        checkpoint.load(tmp_path / "last", Backprop(nn.Linear(3, 4)), config_sha256="abc")


def fill(path: Path, text: str, *, keep: bool = False) -> None:
    with durable.replacing_directory(path, keep=keep) as fresh:
        assert fresh == durable.being_written(path)
        durable.write_bytes(fresh / "file", text.encode())


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("failing", "call"), [("mkdir", 0), ("rename", 0), ("rename", 1)])
def test_the_old_directory_stays_when_the_system_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, call: int
) -> None:
    path = tmp_path / "last"
    fill(path, "old")
    real, calls = getattr(Path, failing), iter(range(10))

    def refuse(self: Path, *args: object, **kwargs: object) -> object:
        return full_disk() if next(calls) == call else real(self, *args, **kwargs)

    monkeypatch.setattr(Path, failing, refuse)
    with pytest.raises(RunError, match="No space left on device"):
        fill(path, "new")
    monkeypatch.undo()
    assert (durable.current(path) / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
    fill(path, "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last"
    fill(path, "old")
    path.rename(durable.previous(path))
    durable.being_written(path).mkdir()
    assert (durable.current(path) / "file").read_text() == "old"
    fill(path, "new")
    assert (durable.current(path) / "file").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]


def test_a_failed_write_leaves_nothing_and_the_directory_before_is_kept_if_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "last"
    for kept in (set[str](), {"last", "last-previous"}):
        with pytest.raises(RunError), durable.replacing_directory(path, keep=True) as fresh:
            (fresh / "file").write_bytes((tmp_path / "absent").read_bytes())
        assert {entry.name for entry in tmp_path.iterdir()} == kept
        for text in ("first", "second", "third"):
            fill(path, text, keep=True)
        assert ((path / "file").read_text(), (durable.previous(path) / "file").read_text()) == ("third", "second")


def test_a_text_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    durable.replace_file(path, "old")
    monkeypatch.setattr(durable.os, "fsync", full_disk)
    with pytest.raises(RunError, match=r"manifest\.json"):
        durable.replace_file(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
