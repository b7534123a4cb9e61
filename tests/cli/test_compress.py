"""`torchsid compress`: what it prints, what it writes, what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchsid.cli.main import main

Output = pytest.CaptureFixture[str]
Trained = Callable[..., Path]
FAST = ("--samples", "64", "--passes", "1")


def test_smaller_networks_are_measured_written_and_read_back(trained: Trained, capsys: Output) -> None:
    run = trained("digits-staged")
    words = ("compress", run, "--bits", "8", "3", "--method", "nearest", "comq-refit", "--out", "small", "--figure", "f.svg", *FAST)
    assert main([*map(str, words), "--json", "found.json"]) == 0
    shown = capsys.readouterr().out
    found = json.loads(Path("found.json").read_text())
    names = ["full precision", "nearest-8", "nearest-3", "comq-refit-8", "comq-refit-3"]
    assert [row["name"] for row in found["networks"]] == names
    assert all(name in shown for name in names)
    assert found["networks"] == json.loads(Path("small/compress.json").read_text())["networks"]
    full, *smaller = (row["bytes"] for row in found["networks"])
    assert smaller[0] == smaller[2] < 0.3 * full
    assert smaller[1] == smaller[3] < 0.15 * full
    assert [end["stages"] for end in found["ends"]] == [1, 2]
    assert found["ends"][1]["bytes"] == full
    assert found["exits"]["test_n"] == found["n"]
    assert "</svg>" in Path("f.svg").read_text()
    for row in found["networks"][1:]:  # the file gives what was measured
        assert main(["evaluate", f"small/{row['name']}", "--json", "again.json"]) == 0
        again = json.loads(Path("again.json").read_text())
        assert again["accuracy"][1:] == row["accuracy"]
        assert again["kl"][1:] == pytest.approx(row["kl"], rel=1e-6)
        stored = Path(f"small/{row['name']}/checkpoints/last/model.safetensors").stat().st_size
        assert stored < full


def test_an_earlier_result_is_replaced_and_nothing_else(trained: Trained, capsys: Output) -> None:
    run = trained("digits-staged")
    words = ["compress", str(run), "--method", "nearest", *FAST, "--out", "small", "--bits"]
    assert main([*words, "4"]) == main([*words, "2"]) == 0
    assert {path.name for path in Path("small").iterdir()} == {"nearest-2", "compress.json"}
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    assert main([*words[:-3], "--out", "mine", "--bits", "4"]) == 2
    assert "mine exists and is no earlier result" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["letter.txt"]


def test_a_smaller_network_is_not_trained_on(trained: Trained, capsys: Output, tiny: Callable[..., list[str]]) -> None:
    run = trained("digits-staged")
    assert main(["compress", str(run), "--method", "nearest", "--bits", "4", *FAST, "--out", "small"]) == 0
    before = Path("small/nearest-4/checkpoints/last/model.safetensors").read_bytes()
    main([*tiny("digits-staged", "--out", "small/nearest-4", "--resume", "--quiet")])
    assert Path("small/nearest-4/checkpoints/last/model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("recipe", "words", "said"),
    [
        ("digits-staged", ["--bits", "1", "9"], ["bits 1: allowed is 2 to 8", "bits 9"]),
        ("digits-staged", ["--method", "comqq"], ["did you mean 'comq'"]),
        ("digits-bp-plain", ["--method", "comq-refit"], ["no stages with heads"]),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    recipe: str, words: list[str], said: list[str], trained: Trained, capsys: Output
) -> None:
    assert main(["compress", str(trained(recipe)), "--out", "small", *words]) == 2
    error = capsys.readouterr().err
    assert all(each in error for each in said)
    assert not Path("small").exists()


def test_a_run_that_has_not_finished_is_refused(trained: Trained, capsys: Output) -> None:
    from torchsid.training.run import RunDirectory

    shutil.copytree(trained("digits-staged"), "begun")
    run = RunDirectory(Path("begun"))
    manifest: dict[str, Any] = run.manifest() | {"status": "interrupted"}
    run.write_manifest(manifest)
    assert main(["compress", "begun"]) == 2
    assert "begun has not finished" in capsys.readouterr().err


def test_a_damaged_code_is_named(trained: Trained, capsys: Output) -> None:
    assert main(["compress", str(trained("digits-staged")), "--method", "nearest", "--bits", "4", *FAST, "--out", "small"]) == 0
    path = Path("small/nearest-4/checkpoints/last/model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert main(["evaluate", "small/nearest-4"]) == 2
    assert "truncated or altered" in capsys.readouterr().err


def test_a_plain_network_has_no_stages_to_drop(trained: Trained) -> None:
    words = [
        "compress",
        str(trained("digits-bp-plain")),
        "--method",
        "comq",
        "--bits",
        "4",
        *FAST,
        "--out",
        "small",
        "--figure",
        "f.svg",
    ]
    assert main([*words, "--json", "found.json"]) == 0
    found = json.loads(Path("found.json").read_text())
    assert found["ends"] == []
    assert found["exits"] is None
