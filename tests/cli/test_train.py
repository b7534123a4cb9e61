import json
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from torchsid.cli import console
from torchsid.cli.main import build_parser, main
from torchsid.cli.train import check_directories, make_plans, overrides
from torchsid.errors import ConfigError, RunError

Arguments = Callable[..., list[str]]
Output = pytest.CaptureFixture[str]


def test_one_recipe_goes_to_its_own_directory(tiny: Arguments, tmp_path: Path, capsys: Output) -> None:
    assert main(tiny("digits")) == 0
    run = tmp_path / "runs" / "digits"
    for name in ("config.toml", "manifest.json", "metrics.jsonl", "evaluation.json", "report.html"):
        assert (run / name).is_file(), name
    shown = capsys.readouterr().out
    assert shown.count("epoch   1 ") == 1
    assert shown.count(json.loads((run / "manifest.json").read_text())["locality"]["detail"]) == 1
    assert f"report: file://{run}/report.html" in shown


def test_the_command_is_recorded(tiny: Arguments, tmp_path: Path) -> None:
    arguments = tiny("digits", "--quiet", "--out", tmp_path / "a b")
    assert main(arguments) == 0
    command = json.loads((tmp_path / "a b" / "manifest.json").read_text())["command"]
    assert command.startswith("torchsid train --set data.limit=200 ")
    assert command.endswith(f"--out '{tmp_path}/a b'")


def test_several_recipes_share_a_directory_a_table_and_a_report(runs: Path, capsys: Output) -> None:
    assert {path.name for path in runs.iterdir()} == {"digits", "digits-bp", "report.html"}
    assert all((runs / name / "report.html").is_file() for name in ("digits", "digits-bp"))


def test_several_seeds_are_averaged(tiny: Arguments, tmp_path: Path, capsys: Output) -> None:
    assert main(tiny("digits", "--seeds", "2", "--set", "training.seed=5", "--out", "seeds")) == 0
    shown = capsys.readouterr().out
    assert {path.name for path in (tmp_path / "seeds").iterdir()} == {"digits-seed5", "digits-seed6", "report.html"}
    assert "seeds 5, 6" in shown
    assert f"report: file://{tmp_path}/seeds/report.html" in shown


def test_quiet_leaves_the_table_and_the_report(tiny: Arguments, capsys: Output) -> None:
    assert main(tiny("digits", "--quiet")) == 0
    captured = capsys.readouterr()
    _, header, row, *_, stages, by_stage, report = captured.out.splitlines()
    assert header.startswith("Method")
    assert row.count("%") >= 2
    assert stages.split() == ["%", "by", "stage,", "last", "1", "2"]
    assert len(by_stage.split()) == 3
    assert report.startswith("report: file://")
    assert "epoch   1 " not in captured.out
    assert captured.err == ""


def test_all_wrong_keys_of_all_recipes_are_reported_and_nothing_is_written(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "mine.toml").write_text('extends = "digits"\n[learner]\nalhpa = 0.5\n')
    assert main(["train", "digits", "mine.toml", "dgits", "--set", "training.epocs=3", "--out", "out"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("torchsid: error: 3 problems")
    assert message.count("unknown key 'training.epocs' (did you mean 'training.epochs'?)") == 1
    assert "unknown key 'learner.alhpa' (did you mean 'learner.alpha'?)" in message
    assert "unknown recipe 'dgits' (did you mean 'digits'?)" in message
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_recipes_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "digits.toml").write_text('extends = "digits"\n')
    with pytest.raises(ConfigError, match="two recipes would write to runs/digits;"):
        make_plans(["digits", "digits.toml"], [], seeds=1, out=None)


def test_seeds_count_up_from_the_configured_one() -> None:
    plans = make_plans(["digits", "digits-bp"], ["training.seed=3"], seeds=2, out=Path("x"))
    assert [(str(plan.out), plan.config.training.seed) for plan in plans] == [
        ("x/digits-seed3", 3),
        ("x/digits-seed4", 4),
        ("x/digits-bp-seed3", 3),
        ("x/digits-bp-seed4", 4),
    ]


def test_existing_directories_are_refused_before_any_training(tiny: Arguments, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "out" / "digits-bp").mkdir(parents=True)
    (tmp_path / "out" / "digits-bp" / "precious.txt").write_text("")
    assert main(tiny("digits", "digits-bp", "--out", "out")) == 2
    message = capsys.readouterr().err
    assert "out/digits-bp exists and is not empty" in message
    assert "--resume" in message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["digits-bp"]


def test_directories_that_cannot_be_made_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"(?s)digits cannot be made: .*digits-bp cannot be made: "):
        check_directories(make_plans(["digits", "digits-bp"], [], seeds=1, out=tmp_path / "file"), resume=True)
    check_directories(make_plans(["digits"], [], seeds=1, out=tmp_path / "new" / "deep"), resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_resuming_under_other_settings_is_refused_before_any_training(runs: Path, tiny: Arguments, capsys: Output) -> None:
    arguments = tiny("digits-bp-plain", "digits", "--out", runs, "--resume", "--set", "model.hidden=17")
    assert main(arguments) == 2
    assert "model.hidden" in capsys.readouterr().err
    assert not (runs / "digits-bp-plain").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_series_says_how_to_go_on_and_does(
    number: int, code: int, tiny: Arguments, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = tiny("digits", "digits-bp", "--out", "out", "--set", "training.epochs=2")
    with monkeypatch.context() as patch:
        patch.setattr(console.Plain, "epoch", lambda self, record: signal.raise_signal(number))
        assert main(arguments) == code
    message = capsys.readouterr().err
    assert f"torchsid {' '.join(arguments)} --resume" in message
    assert "Traceback" not in message
    assert not (tmp_path / "out" / "digits-bp").exists()

    assert main([*arguments, "--resume"]) == 0
    assert epochs(tmp_path / "out" / "digits") == epochs(tmp_path / "out" / "digits-bp") == [1, 2]
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 0  # both are finished: only the table is printed again
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]


def epochs(run: Path) -> list[int]:
    events: list[dict[str, Any]] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [event["epoch"] for event in events if event["event"] == "epoch"]


def test_short_options_are_settings_that_set_overrides() -> None:
    arguments = ["train", "digits", "--data", "1", "--on-bad-sample", "skip", "--set", "data.limit=99"]
    for more, path in ([], "1"), (["--set", "data.path=there"], "there"):
        settings = overrides(build_parser().parse_args([*arguments, *more]))
        (plan,) = make_plans(["digits"], settings, seeds=1, out=None)
        assert plan.config.data == replace(plan.config.data, path=path, on_bad_sample="skip", limit=99)


def test_without_the_report_extra_the_training_counts(tiny: Arguments, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(tiny("digits")) == 0
    captured = capsys.readouterr()
    assert "torchsid[report]" in captured.err
    assert "% by stage, last" in captured.out
