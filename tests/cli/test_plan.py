import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchsid.cli.main import main

Measured = Callable[..., dict[str, Any]]
Output = pytest.CaptureFixture[str]
SMALL = ["plan", "--model", "mlp", "--depth", "2", "--width", "256", "--image-size", "8", "--classes", "10", "--batch-size", "64"]
METHODS = ["SID", "1F1B", "ZB-H1", "FSDP"]


def test_a_plan_says_where_to_cut_and_compares(measured: Measured, capsys: Output) -> None:
    link = ["--link", "100Mbit/s", "--latency", "100ms"]
    found = measured(*SMALL, "--devices", "2xA100", *link, "--images", "1000", "--epochs", "3")
    shown = capsys.readouterr().out
    assert found["command"].startswith(shlex.join(["torchsid", *SMALL]))
    assert found["provenance"]["versions"]["torch"]
    assert [method["method"] for method in found["methods"]] == METHODS
    assert [rank["device"] for rank in found["ranks"]] == [1, 2]
    assert found["plan"][0]["queue that hides latency"] > found["plan"][0]["queue"]
    assert all(f"\n{name} " in shown for name in METHODS)
    for method, whole in zip(found["methods"], found["whole"], strict=True):
        assert (whole["steps"], whole["data"]) == (3 * 16, 1000 * 3 * 8 * 8)
        assert whole["training"] == pytest.approx(48 * method["step"])
        assert whole["data a second"] == pytest.approx(method["images/s"] * 3 * 8 * 8)
    assert f"{found['methods'][0]['images/s']:,.0f}" in shown


def test_what_does_not_fit_is_a_result(measured: Measured) -> None:
    methods = measured(*SMALL, "--devices", "2xflops=1T,memory=1MiB")["methods"]
    assert {(method["fits"], method["limited by"]) for method in methods} == {("no", "memory")}


def test_a_sweep_is_printed_and_drawn(measured: Measured, capsys: Output) -> None:
    rows = measured(*SMALL, "--devices", "2xH100", "--sweep", "devices", "--figure", "out.svg")["sweep"]
    assert all(name in Path("out.svg").read_text() for name in METHODS)
    assert {row["devices"] for row in rows} == {2**n for n in range(13)}
    assert all(row["ranks"] * row["replicas"] == row["devices"] for row in rows)
    assert "\n   4096 " in capsys.readouterr().out


def test_this_machine_is_measured(measured: Measured) -> None:
    arguments = ["--devices", "2xmeasured", "--measure", "--precision", "float32", "--optimizer", "momentum"]
    assert measured(*SMALL, *arguments)["plan"][0]["of the peak"] is None


def test_wrong_requests_are_refused_with_all_problems(capsys: Output) -> None:
    arguments = ["--model", "vit-larg", "--devices", "16xH1000", "--link", "fast", "--figure", "out.svg", "--json", "out.json"]
    assert main(["plan", *arguments]) == 2
    shown = capsys.readouterr().err
    assert all(problem in shown for problem in ("figure", "'vit-large'", "'H100'", "'fast'"))
    assert shown.count("\n  - ") == 4
    assert not Path("out.json").exists()
