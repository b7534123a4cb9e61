import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from torchsid.cli import plan
from torchsid.cli.main import main
from torchsid.planner.sweep import AXES

SMALL = ["--model", "mlp", "--depth", "4", "--width", "256", "--image-size", "8", "--classes", "10", "--batch-size", "64"]
METHODS = ("SID", "1F1B", "ZB-H1", "FSDP")


def test_a_plan_says_where_to_cut_and_compares(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", *SMALL, "--devices", "4xA100", "--link", "100Mbit/s", "--latency", "100ms", "--json", "out.json"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{name} " in shown for name in METHODS)
    assert "hides the latency of the link, it is 2; set --queue" in shown
    assert f"file://{Path.cwd()}/out.json" in shown
    found = json.loads(Path("out.json").read_text())
    assert found["command"] == shlex.join(["torchsid", *arguments])
    assert found["provenance"]["versions"]["torch"]
    assert [method["name"] for method in found["methods"]] == list(METHODS)
    assert len(found["ranks"]) == 4
    assert found["ranks"][-1]["end"] == len(found["pieces"])
    assert all(method["step_seconds"] == pytest.approx(sum(method["step"]["parts"].values())) for method in found["methods"])


def test_what_does_not_fit_is_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SMALL, "--devices", "2xflops=1T,memory=1MiB"]) == 0
    shown = capsys.readouterr().out
    assert "SID does not fit: " in shown
    assert " of 1.00 MiB" in shown


def test_a_sweep_is_printed_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SMALL, "--devices", "2xH100", "--sweep", "devices", "--figure", "out.svg", "--json", "out.json"]) == 0
    shown = capsys.readouterr().out
    assert "\n  4,096 " in shown
    assert all(f"{name} keeps half of the ideal throughput " in shown for name in METHODS)
    assert all(f">{name}</text>" in Path("out.svg").read_text() for name in METHODS)
    assert json.loads(Path("out.json").read_text())["sweep"]["points"][-1]["value"] == 4096


def test_this_machine_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", *SMALL, "--devices", "2xmeasured", "--measure", "--precision", "float32", "--optimizer", "momentum"]
    assert main(arguments) == 0
    assert "seconds measured on this machine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (
            ["--model", "vit-larg", "--devices", "16xH1000", "--link", "fast", "--figure", "out.svg"],
            ["figure: ", "did you mean 'vit-large'?", "did you mean 'H100'?", "link 'fast'"],
        ),
        ([*SMALL, "--devices", "99xH100"], ["stages 99: mlp can be cut into 1 to 6"]),
        ([*SMALL, "--devices", "2xH100", "--micro-batches", "7"], ["must be a multiple of the 7 micro-batches"]),
    ],
)
def test_wrong_requests_are_refused_with_all_problems(
    arguments: list[str], problems: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments, "--json", "out.json"]) == 2
    shown = capsys.readouterr().err
    assert all(problem in shown for problem in problems)
    assert shown.count("\n  - ") == len(problems)
    assert not Path("out.json").exists()


def test_its_help_needs_no_torch_and_its_axes_are_the_planner_s() -> None:
    assert plan.AXES == AXES
    program = (
        "import sys; from torchsid.cli.main import main\ntry: main(['plan', '--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
