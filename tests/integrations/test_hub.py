"""A published run is a folder that answers as the run does, and goes to the hub and comes back from it."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from torchsid.cli.main import main
from torchsid.errors import RunError
from torchsid.integrations.hub import from_pretrained, push_to_hub, save_pretrained
from torchsid.training import load_network

TINY = ("--set", "training.epochs=1", "--set", "data.limit=300", "--set", "model.depth=2", "--quiet")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("hub") / "run"
    assert main(["train", "digits", "--out", str(directory), *TINY]) == 0
    return directory


def test_a_folder_answers_as_the_run_and_says_what_it_is(run: Path, tmp_path: Path) -> None:
    folder = save_pretrained(run, tmp_path / "digits-in-stages")
    expected, found = load_network(run), from_pretrained(folder)
    inputs = load_file(run / "samples.safetensors")["inputs"]
    beliefs = expected.learner.log_beliefs(expected.prepare(inputs))
    assert torch.equal(found.learner.log_beliefs(found.prepare(inputs)), beliefs)
    assert main(["evaluate", str(folder), "--json", str(tmp_path / "e.json")]) == 0
    results = json.loads((folder / "config.json").read_text())["results"]
    assert json.loads((tmp_path / "e.json").read_text())["accuracy"][-1] == results["test"]["accuracy"]
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "torchsid"
    for said in (
        f"{results['test']['accuracy']:.2%} (",
        "torchsid train config.toml",
        "digits-in-stages",
        "local: none of",
    ):
        assert said in card.text
    assert not load_file(folder / "checkpoints/best/optimizer.safetensors")
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".md", ".safetensors", ".toml"}
    assert str(run) not in (folder / "manifest.json").read_text()
    again = save_pretrained(run, folder, weights="last")
    assert sorted(path.name for path in (again / "checkpoints").iterdir()) == ["last"]


def test_it_goes_to_the_hub_and_comes_back(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there"  # what the hub has

    def upload(self: object, *, repo_id: str, folder_path: Path, **_: Any) -> None:
        shutil.copytree(folder_path, there / repo_id)

    def download(repo_id: str, revision: str | None) -> str:
        if not (there / repo_id).is_dir():
            raise huggingface_hub.errors.LocalEntryNotFoundError("no such repository")
        return str(there / repo_id)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, name, **_: f"https://hub/{name}")
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert push_to_hub(run, "me/digits") == "https://hub/me/digits"
    assert 'from_pretrained("me/digits")' in (there / "me/digits/README.md").read_text()
    assert from_pretrained("me/digits").class_names == load_network(run).class_names
    with pytest.raises(RunError, match="'me/letters' is no folder, and the hub does not give it: no such repository"):
        from_pretrained("me/letters")


def test_what_cannot_be_published_is_refused(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="holds other things"):
        save_pretrained(run, other)
    (other / "config.json").write_text('{"model_type": "gpt2"}')  # a model of another library
    with pytest.raises(RunError, match="holds other things"):
        save_pretrained(run, other)
    assert sorted(path.name for path in other.iterdir()) == ["config.json", "letter.txt"]
    begun = shutil.copytree(run, tmp_path / "begun")
    manifest = json.loads((begun / "manifest.json").read_text())
    del manifest["sha256"]
    from torchsid.training.run import RunDirectory

    RunDirectory(begun).write_manifest(manifest | {"status": "interrupted"})
    with pytest.raises(RunError, match="has not finished"):
        save_pretrained(begun, tmp_path / "new")
    assert not (tmp_path / "new").exists()
