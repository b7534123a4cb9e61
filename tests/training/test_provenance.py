import json
import subprocess
from datetime import datetime
from pathlib import Path

import torch

from torchsid import __version__
from torchsid.training.provenance import git_state, provenance


def test_it_names_date_versions_and_hardware_and_is_json() -> None:
    found = json.loads(json.dumps(provenance()))
    assert datetime.fromisoformat(found["date"]).tzinfo is not None
    assert found["versions"]["torchsid"] == __version__
    assert found["versions"]["torch"] == torch.__version__
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert found["hardware"]["device"] == "cpu"


def test_git_state_is_none_outside_a_repository_and_sees_changes_in_one(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    clean = git_state(tmp_path)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert not clean["dirty"]
    (tmp_path / "new").touch()
    assert git_state(tmp_path) == {**clean, "dirty": True}
