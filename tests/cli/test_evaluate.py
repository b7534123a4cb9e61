import json
import shutil
from pathlib import Path

import pytest

from torchsid.cli.main import main
from torchsid.tasks import images as data
from torchsid.tasks.images import loading

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("weights", ["best", "last"])
def test_the_numbers_are_those_of_the_training(runs: Path, split: str, weights: str, capsys: Output) -> None:
    arguments = ["evaluate", str(runs / "digits"), "--split", split, "--weights", weights, "--json", "out.json"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    measured = json.loads(Path("out.json").read_text())
    recorded = json.loads((runs / "digits" / "evaluation.json").read_text())[weights][split]
    assert measured["accuracy"] == recorded["accuracy"]
    assert measured["kl"] == pytest.approx(recorded["kl"])
    assert (measured["weights"], measured["split"]) == (weights, split)
    header, prior, *stages = captured.out.splitlines()[:4]
    assert header.startswith(f"{split}, n = {recorded['n']:,}")
    assert prior.startswith("prior")
    assert [line.split("  ")[0] for line in stages] == ["stage 1", "stage 2"]
    assert f"{100 * recorded['accuracy'][-1]:.2f} %" in stages[-1]
    assert captured.err == ""


def test_a_directory_without_a_run_is_refused(capsys: Output) -> None:
    assert main(["evaluate", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_the_data_may_have_moved(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(config: data.DataConfig, *, seed: int) -> data.DataSplits:
        asked.append(config.path)
        return original(config, seed=seed)

    original = loading.load
    monkeypatch.setattr(loading, "load", load)
    assert main(["evaluate", str(runs / "digits"), "--data", "elsewhere"]) == 0
    assert main(["evaluate", str(runs / "digits")]) == 0
    assert asked == ["elsewhere", ""]


def test_other_images_are_pointed_out(runs: Path, tmp_path: Path, capsys: Output) -> None:
    shutil.copytree(runs / "digits", tmp_path / "run")
    manifest = tmp_path / "run" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["data"]["fingerprint"]["arrays/test"] = "0" * 64
    manifest.write_text(json.dumps(content))
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "SHA-256 differs" in capsys.readouterr().err
