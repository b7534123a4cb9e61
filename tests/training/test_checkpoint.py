import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from torchsid import Backprop, durable
from torchsid.errors import CheckpointError, RunError
from torchsid.training import checkpoint
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


def forge(directory: Path, change: Callable[[dict[str, Any]], object], tensors: Callable[[dict[str, Tensor]], object]) -> None:
    """Change a checkpoint so that its checksums fit."""
    header = json.loads((directory / "state.json").read_text())
    for name in ("model.safetensors", "optimizer.safetensors"):
        content = load_file(directory / name)
        tensors(content)
        save_file(content, directory / name)
        header["files"][name] = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    change(header)
    del header["sha256"]
    (directory / "state.json").write_bytes(checkpoint._signed(header, header.get("files", {})))


def reshaped(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({name: tensor}) if name in tensors else None


FORGERIES: dict[str, tuple[Callable[[Any], object], Callable[[Any], object], str]] = {
    "shape": (str, reshaped("0.weight", torch.zeros(4, 2)), r"0\.weight is \[4, 2\] float32, not \[4, 3\] float32"),
    "type": (str, reshaped("0.weight", torch.zeros(4, 3).double()), "0.weight is .* float64"),
    "broadcast": (str, reshaped("exp_avg:0.weight", torch.zeros(1, 3)), "exp_avg:0.weight is .* unlike its parameter"),
    "whole numbers": (str, reshaped("exp_avg:0.weight", torch.zeros(4, 3).long()), "unlike its parameter"),
    "name": (str, lambda tensors: tensors.update({"evil": torch.zeros(1)}), "evil is unknown"),
    "parameter": (str, lambda tensors: tensors.update({"exp_avg:evil": torch.zeros(1)}), "exp_avg:evil is unknown"),
    "missing": (str, lambda tensors: tensors.pop("1.running_mean", None), "1.running_mean is missing"),
    "moment": (str, lambda tensors: tensors.pop("exp_avg:0.weight", None), "more of some parameters"),
    "no files": (lambda header: header.update(files={}), str, "does not say"),
    "one file": (lambda header: header["files"].pop("optimizer.safetensors"), str, "does not say"),
    "elsewhere": (lambda header: header.update(files={"../x.safetensors": "0"}), str, "does not say"),
    "no format": (lambda header: header.pop("format"), str, "does not say"),
    "state": (lambda header: header.update(state=[3]), str, "does not say"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_checkpoint_whose_checksums_fit_is_refused_and_changes_nothing(tmp_path: Path, forgery: str) -> None:
    checkpoint.save(tmp_path / "last", *trained(), {"step": 3}, config_sha256="abc")
    change, tensors, words = FORGERIES[forgery]
    forge(tmp_path / "last", change, tensors)
    other, other_optimizer = trained(seed=1)
    weights = {key: tensor.clone() for key, tensor in other.module.state_dict().items()}
    with pytest.raises(CheckpointError, match=words):
        checkpoint.load(tmp_path / "last", other, other_optimizer, config_sha256="abc")
    assert all(torch.equal(other.module.state_dict()[key], tensor) for key, tensor in weights.items())


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, (2**40).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"[]"])
def test_a_file_without_tensors_is_named_though_its_checksum_fits(tmp_path: Path, content: bytes) -> None:
    checkpoint.save(tmp_path / "last", *trained(), {"step": 3}, config_sha256="abc")
    (tmp_path / "last" / "model.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    header = json.loads((tmp_path / "last" / "state.json").read_text())
    del header["sha256"]
    files = {**header["files"], "model.safetensors": digest}
    (tmp_path / "last" / "state.json").write_bytes(checkpoint._signed(header, files))
    with pytest.raises(CheckpointError, match=r"model\.safetensors holds no tensors"):
        checkpoint.load(tmp_path / "last", *trained(), config_sha256="abc")


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"sha256": 1}', "[" * 100_000, "\xff", "{}"])
def test_a_state_that_is_no_state_is_named(tmp_path: Path, content: str) -> None:
    checkpoint.save(tmp_path / "last", *trained(), {"step": 3}, config_sha256="abc")
    (tmp_path / "last" / "state.json").write_text(content, "latin-1")
    with pytest.raises(CheckpointError, match=r"state\.json is truncated or altered"):
        checkpoint.load(tmp_path / "last", *trained(), config_sha256="abc")


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


def test_what_an_optimiser_remembers_lies_in_memory_as_its_parameter(tmp_path: Path) -> None:
    """Fused kernels run over both as they lie, whatever their strides say: the next step is the one that would have been."""

    def convolution() -> tuple[Backprop, torch.optim.Optimizer]:
        module = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return Backprop(module), build_optimizer(module, OptimizerConfig(name="sgd", momentum=0.9))

    def step(learner: Backprop, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        optimizer.zero_grad()
        torch.manual_seed(0)
        learner.module(torch.randn(2, 3, 5, 5)).square().sum().backward()
        optimizer.step()
        return learner.module.weight

    went_on, resumed = convolution(), convolution()
    step(*went_on)
    checkpoint.save(tmp_path / "last", *went_on, {}, config_sha256="abc")
    checkpoint.load(tmp_path / "last", *resumed, config_sha256="abc")
    assert torch.equal(step(*resumed), step(*went_on))
