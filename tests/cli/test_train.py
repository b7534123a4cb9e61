import json
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from torchsid.cli.console import Console
from torchsid.cli.main import build_parser, main
from torchsid.cli.train import check_directories, overrides, trainings
from torchsid.errors import ConfigError, RunError
from torchsid.training import open_run

Arguments = Callable[..., list[str]]
Output = pytest.CaptureFixture[str]


def test_one_recipe_goes_to_its_own_directory_and_says_where(tiny: Arguments, tmp_path: Path, capsys: Output) -> None:
    assert main(tiny("digits")) == 0
    run = tmp_path / "runs" / "digits"
    for name in ("config.toml", "manifest.json", "metrics.jsonl", "evaluation.json", "report.html"):
        assert (run / name).is_file(), name
    shown = capsys.readouterr().out
    manifest = json.loads((run / "manifest.json").read_text())
    assert shown.count("epoch   1 ") == 1
    assert shown.count(manifest["locality"]["detail"]) == 1
    assert manifest["command"].startswith("torchsid train --set data.limit=200 ")
    assert f"report: file://{run}/report.html" in shown


def test_several_recipes_share_a_directory_and_a_report(runs: Path) -> None:
    assert {path.name for path in runs.iterdir()} == {"digits", "digits-bp", "report.html"}
    assert all((runs / name / "report.html").is_file() for name in ("digits", "digits-bp"))


def test_quiet_and_without_the_report_extra_the_table_is_left(
    tiny: Arguments, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(tiny("digits", "--quiet", "--out", "a b")) == 0
    captured = capsys.readouterr()
    assert "torchsid[report]" in captured.err
    assert "accuracy, best" in captured.out
    assert "epoch   1 " not in captured.out
    assert json.loads(Path("a b/manifest.json").read_text())["command"].endswith("--out 'a b'")


def test_the_settings_of_a_recipe_are_printed_and_nothing_is_trained(tmp_path: Path, capsys: Output) -> None:
    assert main(["train", "digits", "--set", "learner.name=gce", "--help-settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (q,) = (line for line in lines if line.startswith("learner.q "))
    assert "0.7" in q
    assert "above 0, at most 1" in q
    assert any(line.startswith("training.epochs ") and " 30 " in line for line in lines)
    assert not any(line.startswith("learner.alpha") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_all_wrong_keys_of_all_recipes_are_reported_and_nothing_is_written(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "mine.toml").write_text('extends = "digits"\n[learner]\nalhpa = 0.5\n')
    assert main(["train", "digits", "mine.toml", "dgits", "--set", "training.epocs=3", "--out", "out"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("torchsid: error: 3 problems")
    assert message.count("unknown key 'training.epocs' (did you mean 'training.epochs'?)") == 1
    assert "unknown key 'learner.alhpa' (did you mean 'learner.alpha'?)" in message
    assert "unknown recipe 'dgits' (did you mean 'digits'?)" in message
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_what_is_trained_and_where_to(tmp_path: Path) -> None:
    jobs = trainings(["digits", "digits-bp"], ["training.seed=3"], seeds=2, out=Path("x"))
    assert [(out.name, config.training.seed) for out, config in jobs.items()] == [
        (f"{recipe}-seed{seed}", seed) for recipe in ("digits", "digits-bp") for seed in (3, 4)
    ]
    assert [*trainings(["digits"], [], seeds=1, out=Path("x"))] == [Path("x")]
    (tmp_path / "digits.toml").write_text('extends = "digits"\n')
    with pytest.raises(ConfigError, match="two recipes would write to runs/digits;"):
        trainings(["digits", "digits.toml"], [], seeds=1, out=None)


def test_short_options_are_settings_that_set_overrides() -> None:
    arguments = ["train", "digits", "--data", "1", "--on-bad-sample", "skip", "--set", "data.limit=99"]
    for more, path in ([], "1"), (["--set", "data.path=there"], "there"):
        (config,) = trainings(["digits"], overrides(build_parser().parse_args([*arguments, *more])), seeds=1, out=None).values()
        assert config.data == replace(config.data, path=path, on_bad_sample="skip", limit=99)


def test_directories_are_checked_before_any_training(tiny: Arguments, runs: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "out" / "digits-bp").mkdir(parents=True)
    (tmp_path / "out" / "digits-bp" / "precious.txt").write_text("")
    assert main(tiny("digits", "digits-bp", "--out", "out")) == 2
    message = capsys.readouterr().err
    assert "out/digits-bp exists and is not empty" in message
    assert "--resume" in message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["digits-bp"]
    assert main(tiny("digits-noise", "digits", "--out", runs, "--resume", "--set", "model.hidden=17")) == 2
    assert "model.hidden: 16 -> 17" in capsys.readouterr().err
    assert not (runs / "digits-noise").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"(?s)digits cannot be made: .*digits-bp cannot be made: "):
        check_directories(trainings(["digits", "digits-bp"], [], seeds=1, out=tmp_path / "file"), resume=True)
    check_directories(trainings(["digits"], [], seeds=1, out=tmp_path / "new" / "deep"), resume=False)


@pytest.mark.slow
def test_an_interrupted_series_says_how_to_go_on_and_does(
    tiny: Arguments, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)  # reports take longer than all the rest
    arguments = tiny("digits", "digits-bp", "--out", "out", "--set", "training.epochs=2")
    with monkeypatch.context() as patch:
        patch.setattr(Console, "epoch", lambda self, record: signal.raise_signal(signal.SIGTERM))
        assert main(arguments) == 128 + signal.SIGTERM
    message = capsys.readouterr().err
    assert f"torchsid {' '.join(arguments)} --resume" in message
    assert "Traceback" not in message
    assert not (tmp_path / "out" / "digits-bp").exists()
    assert main([*arguments, "--resume"]) == 0
    for run in ("digits", "digits-bp"):
        assert [event["epoch"] for event in open_run(Path("out") / run).metrics() if event["event"] == "epoch"] == [1, 2]
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 0  # both are finished: only the table is printed again
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
