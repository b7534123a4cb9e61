import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from torchsid.errors import CheckpointError
from torchsid.training import checkpoint
from torchsid.training.config import OptimizerConfig
from torchsid.training.optimization import build_optimizer

FILES = ["model.safetensors", "optimizer.safetensors", "state.json"]


def trained(name: str = "adam", seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    momentum = {"momentum": 0.9} if name == "sgd-momentum" else {}
    optimizer = build_optimizer(module, OptimizerConfig(name=name.removesuffix("-momentum"), **momentum))
    for _ in range(2):
        optimizer.zero_grad()
        module(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
    return module, optimizer


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "sgd-momentum"])
def test_weights_optimiser_and_state_come_back(tmp_path: Path, name: str) -> None:
    module, optimizer = trained(name)
    state = {"step": 3, "loss": 0.1 + 0.2}
    checkpoint.save(tmp_path / "last", module, optimizer, state, config_sha256="abc")
    other, other_optimizer = trained(name, seed=1)
    assert checkpoint.load(tmp_path / "last", other, other_optimizer, config_sha256="abc") == state
    for key, tensor in module.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor)
    before, after = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    tensors = {(i, key): value for i, entry in before.items() for key, value in entry.items() if value is not None}
    assert name == "sgd" or tensors
    assert all(torch.equal(after[i][key], value) for (i, key), value in tensors.items())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "change", "remove"])
def test_damage_is_named_and_changes_nothing(tmp_path: Path, name: str, damage: str) -> None:
    module, optimizer = trained()
    checkpoint.save(tmp_path / "last", module, optimizer, {}, config_sha256="abc")
    path = tmp_path / "last" / name
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "change":
            path.write_bytes(content[:-9] + bytes(255 - byte for byte in content[-9:]))
        case "remove":
            path.unlink()
    other, other_optimizer = trained(seed=1)
    weights = {key: tensor.clone() for key, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"{name}.*start a new run"):
        checkpoint.load(tmp_path / "last", other, other_optimizer, config_sha256="abc")
    assert all(torch.equal(other.state_dict()[key], tensor) for key, tensor in weights.items())


def test_a_changed_number_in_the_state_is_noticed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last", *trained(), {"step": 3}, config_sha256="abc")
    path = tmp_path / "last" / "state.json"
    path.write_text(path.read_text().replace('"step": 3', '"step": 4'))
    with pytest.raises(CheckpointError, match=r"state\.json is truncated or altered"):
        checkpoint.load(tmp_path / "last", *trained(), config_sha256="abc")


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last", *trained(), {}, config_sha256="abc")
    with pytest.raises(CheckpointError, match="another configuration"):
        checkpoint.load(tmp_path / "last", *trained(), config_sha256="abd")


def test_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last", *trained(), {}, config_sha256="abc")
    with pytest.raises(CheckpointError, match="does not fit the network"):
        checkpoint.load(tmp_path / "last", nn.Linear(3, 4), config_sha256="abc")


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from torch import nn
from torchsid.training import checkpoint, durable
real, calls = os.fsync, 0
def killing(moment):
    def fsync(descriptor):
        global calls
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)
    return fsync
module = nn.Linear(3, 4)
optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
for moment in map(int, sys.argv[2:]):
    directory = Path(sys.argv[1]) / str(moment) / "last"
    checkpoint.save(directory, module, optimizer, {"save": 1}, config_sha256="abc")
    if os.fork() == 0:
        durable.os.fsync = killing(moment)
        checkpoint.save(directory, module, optimizer, {"save": 2}, config_sha256="abc")
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_save_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    survivors = {1: 1, 2: 1, 3: 1, 4: 1, 5: 2}  # killed at the fsync of each file, of the new directory, of its parent
    command = [sys.executable, "-c", KILLED, str(tmp_path), *map(str, survivors)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout.split() == ["-9"] * len(survivors), result.stderr
    for moment, survivor in survivors.items():
        directory = tmp_path / str(moment) / "last"
        assert checkpoint.load(directory, nn.Linear(3, 4), config_sha256="abc") == {"save": survivor}
        checkpoint.save(directory, *trained(), {"save": 3}, config_sha256="abc")
        assert [entry.name for entry in directory.parent.iterdir()] == ["last"]
