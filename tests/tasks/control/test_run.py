"""An agent goes through the commands of every task, and a run that was interrupted goes on to the same bits."""

from pathlib import Path

import pytest
import tomli_w

from tests.training.conftest import assert_same_result
from tests.training.test_loop import interrupt_at
from torchsid.cli.main import main
from torchsid.errors import ConfigError, DataError
from torchsid.study.experiments.experiment import load
from torchsid.study.experiments.runner import Results, run
from torchsid.training import Interrupted, RunConfig, RunDirectory, loop, resolve, train

SMALL = [
    *("data.replay=330", "data.environments=3", "data.steps=7", "data.period=4", "data.exploration=300", "data.atoms=11"),
    *("data.validation=2", "data.test=3", "data.max_steps=40", "model.width=16", "training.epochs=3", "training.batch_size=32"),
    *("training.device=cpu", "watch.certify=true"),
]


def config(*settings: str, recipe: str = "cartpole") -> RunConfig:
    return resolve(recipe, [*SMALL, *settings])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return RunDirectory(train(config(), tmp_path_factory.mktemp("control") / "run"))


def test_a_resumed_run_is_bit_identical(finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "REPORT_SECONDS", -1.0)  # so that the reporter hears of every step
    for now in ((1, 2), (1, 4), (2, 11), (3, 5)):  # within a period, just before one, at the end of an epoch
        with pytest.raises(Interrupted):
            train(config(), tmp_path / "run", resume=True, reporter=interrupt_at(*now))
    train(config(), tmp_path / "run", resume=True)
    assert_same_result(tmp_path / "run", finished.path)


def test_every_epoch_says_what_the_agent_did(finished: RunDirectory) -> None:
    epochs = [each for each in finished.metrics() if each["event"] == "epoch"]
    assert [each["collected"]["exploration"] for each in epochs] == pytest.approx(
        [1 - 0.95 * (63 * epoch + 42) / 300 for epoch in range(3)]
    )
    returns = [each["validation"]["scores"]["return"] for each in epochs]
    assert all(len(each) == 3 and min(each) >= 8 and max(each) <= 40 for each in returns)
    best = max(range(3), key=lambda epoch: (returns[epoch][-1], -epochs[epoch]["validation"]["loss"]))
    assert finished.evaluation()["best"]["epoch"] == best + 1
    assert finished.evaluation()["last"]["validation"]["scores"]["return"] == returns[-1]
    assert all(len(each["descent"]) == 2 for each in epochs)


@pytest.mark.parametrize("verb", ["evaluate", "certify", "report", "compare"])
def test_the_same_commands_read_the_run(verb: str, finished: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, str(finished.path)]) == 0
    said = capsys.readouterr().out
    assert "nan" not in said
    if verb == "evaluate":
        tested = finished.evaluation()["best"]["test"]
        assert all(f"{each:.4f}" in said for each in (*tested["scores"]["return"], *tested["kl"]))
    if verb == "report":
        page = (finished.path / "report.html").read_text("utf-8")
        assert "Return of the validation episodes" in page
        assert "What each stage believes of the number" in page


@pytest.mark.parametrize("recipe", ["cartpole-bp", "acrobot", "mountain-car"])
def test_recipes_train(recipe: str, tmp_path: Path) -> None:
    own = [] if recipe != "cartpole-bp" else ["watch.certify=false"]
    run = RunDirectory(train(config("training.epochs=1", *own, recipe=recipe), tmp_path / "run"))
    assert run.evaluation()["last"]["test"]["scores"]["return"][-1] is not None


def test_what_remembers_samples_cannot_learn_from_those_that_are_renewed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="renewed"):
        train(config("learner.teachers=last-epoch"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_environment_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.name = 'CartPole-v9'"):
        train(config("data.name=CartPole-v9"), tmp_path / "run")
    assert main(["train", "cartpole", "--set", "data.name=Pendulum-v1", "--out", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"data\.high = -200: 11 bins"):
        config("data.high=-200")


def test_an_experiment_is_judged_by_returns_and_keeps_what_has_finished(tmp_path: Path) -> None:
    settings = dict(setting.split("=") for setting in SMALL if setting.startswith("data."))
    table = {
        "question": "Which rate?",
        "recipe": "cartpole",
        "rates": [1e-3, 1e-2],
        "seeds": [0],
        "metrics": ["return-area"],
        "settings": {**{name: int(value) for name, value in settings.items()}, "training.epochs": 1, "model.width": 8},
        "contenders": {"SID": {}},
    }
    path, said = tmp_path / "rates.toml", list[str]()
    path.write_text(tomli_w.dumps(table))
    found = run(load(str(path)), tmp_path / "out")
    validations = {rate: scores.last("return") for rate, scores in ((job.rate, each) for job, each in found.tried.items())}
    (rate,) = found.rates.values()
    assert validations[rate] == max(validations.values())
    assert found.metrics == ["return", "best-return", "return-area"]
    assert numbers_of(run(load(str(path)), tmp_path / "out", say=said.append)) == numbers_of(found)
    assert all(line.endswith("already there") for line in said)


def numbers_of(found: Results) -> list[object]:
    return [
        row for row in found.rows() if row["metric"] not in ("seconds", "throughput", "memory", "samples_per_second", "memory_mib")
    ]
